import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from evolvent.errors import BadInput
from evolvent.models import ModelSpec, attach_lora, build, build_tokenizer, checkpoint_gradients, fast
from evolvent.models.decoding import KVCache, chunk

torch.set_num_threads(1)

QWEN, LLAMA = (Qwen3ForCausalLM, Qwen3Config), (LlamaForCausalLM, LlamaConfig)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}
SHAPES = [
    (QWEN, 4, {}),
    (QWEN, 2, {"tie_word_embeddings": True}),
    (QWEN, 1, {"attention_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    (LLAMA, 4, {"tie_word_embeddings": True}),
    (LLAMA, 2, {"attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3}),
    (LLAMA, 1, {"rope_parameters": YARN}),
]


def tiny(kind, num_kv_heads, more):
    make, describe = kind
    shape = {
        "vocab_size": 260,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": num_kv_heads,
        "head_dim": 16,
        "max_position_embeddings": 64,
        "initializer_range": 0.1,
        "pad_token_id": 7,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make(describe(**shape, **more)).eval()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim == 1:  # norms start at 1 and biases at 0, which would hide mistakes
                    weight.add_(0.3 * torch.randn_like(weight))
    return model


def tokens_of(rows, length, seed=0):
    return torch.randint(0, 260, (rows, length), generator=torch.Generator().manual_seed(seed))


def fast_logits(model, tokens):
    weights = fast.FastWeights(model)
    return fast.logits(weights, fast.hidden(weights, tokens))


@pytest.mark.parametrize(("kind", "num_kv_heads", "more"), SHAPES)
def test_logits_and_gradients_equal_transformers(kind, num_kv_heads, more):
    model, tokens = tiny(kind, num_kv_heads, more), tokens_of(3, 40)
    tokens[1, 30:] = 7
    theirs, ours = model(tokens).logits, fast_logits(model, tokens)
    assert (theirs - ours).abs().max() < 2e-5
    weights = list(model.parameters())
    wanted = torch.autograd.grad(theirs.logsumexp(-1).sum(), weights)
    got = torch.autograd.grad(ours.logsumexp(-1).sum(), weights)
    for a, b in zip(wanted, got, strict=True):
        assert (a - b).abs().max() < 1e-4 * (1 + a.abs().max())


def test_bfloat16_is_as_close_to_float32_as_transformers_is():
    model, tokens = tiny(*SHAPES[1]), tokens_of(3, 40)
    with torch.no_grad():
        exact = model(tokens).logits
        model = model.to(torch.bfloat16)
        theirs, ours = model(tokens).logits.float(), fast_logits(model, tokens).float()
    assert (ours - exact).abs().mean() < 1.2 * (theirs - exact).abs().mean()


@pytest.mark.parametrize(("kind", "num_kv_heads", "more"), SHAPES)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_decoding_in_any_chunks_from_any_starts_equals_one_forward(kind, num_kv_heads, more, data):
    model = tiny(kind, num_kv_heads, more)
    weights = fast.FastWeights(model)
    tokens = tokens_of(3, 48, seed=1)
    starts = torch.tensor(data.draw(st.lists(st.integers(0, 20), min_size=3, max_size=3)))
    sizes = data.draw(st.lists(st.sampled_from([1, 1, 2, 5]), min_size=1, max_size=6))
    with torch.no_grad():
        wanted = fast.hidden(weights, tokens)
    cache = KVCache(weights, 3)
    if starts.any():  # right-padded prompts of different length
        chunk(weights, cache, tokens[:, : int(starts.max())], torch.zeros(3, dtype=torch.long))
    for size in sizes:
        spots = starts[:, None] + torch.arange(size)
        got = chunk(weights, cache, tokens.gather(1, spots), starts)
        assert (got - wanted[torch.arange(3)[:, None], spots]).abs().max() < 2e-5
        starts = starts + size


def test_rows_of_a_cache_can_be_repeated_swapped_and_dropped():
    model, tokens = tiny(*SHAPES[1]), tokens_of(2, 12)
    weights = fast.FastWeights(model)
    prompt = KVCache(weights, 2)
    chunk(weights, prompt, tokens[:, :8], torch.zeros(2, dtype=torch.long))
    cache = prompt.take(torch.tensor([0, 0, 1]))
    assert cache.rows == 3
    cache.swap(torch.tensor([1]), torch.tensor([2]))  # now prompts 0, 1, 0
    got = chunk(weights, cache, tokens[:, 8:], torch.full((2,), 8))
    wanted = fast.hidden(weights, tokens)[:, 8:]
    assert (got - wanted).abs().max() < 2e-5


@pytest.mark.parametrize(("kind", "num_kv_heads", "more"), SHAPES[:2])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_rows_read_a_shared_prompt_as_if_it_were_their_own(kind, num_kv_heads, more, data):
    model = tiny(kind, num_kv_heads, more)
    weights, tokens = fast.FastWeights(model), tokens_of(3, 12)
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, 12), min_size=3, max_size=3)))
    prompts = KVCache(weights, 3)
    chunk(weights, prompts, tokens, torch.zeros(3, dtype=torch.long), level=0)
    owner = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6)))
    own = tokens_of(len(owner), 8, seed=2)
    rows = [torch.cat((tokens[p, : lengths[p]], own[r])) for r, p in enumerate(owner.tolist())]
    with torch.no_grad():
        wanted = torch.stack([fast.hidden(weights, row[None])[0, -8:] for row in rows])
    cache = KVCache(weights, len(owner), prompts.as_prompts(lengths), owner)
    at = chunk(weights, cache, own[:, :3], lengths[owner], level=0)
    assert (at - wanted[:, :3]).abs().max() < 2e-5
    # two rows change places, the last of the others ends, the rest go on around fewer prompts
    order = torch.arange(len(owner))
    if len(owner) > 1:
        cache.swap(torch.tensor([0]), torch.tensor([len(owner) - 1]))
        order[[0, -1]] = order[[-1, 0]]
        order = order[:-1]
    at = chunk(weights, cache, own[order, 3:4], lengths[owner[order]] + 3, level=3)
    assert (at - wanted[order, 3:4]).abs().max() < 2e-5
    cache.seat(len(order))
    at = chunk(weights, cache, own[order, 4:5], lengths[owner[order]] + 4)
    assert (at - wanted[order, 4:5]).abs().max() < 2e-5
    # a later turn takes rows in another order, one of them twice
    again = torch.cat((order.flip(0), order[:1]))
    places = torch.cat((torch.arange(len(order)).flip(0), torch.tensor([0])))
    at = chunk(weights, cache.take(places), own[again, 5:], lengths[owner[again]] + 5)
    assert (at - wanted[again, 5:]).abs().max() < 2e-5


def test_a_large_vocabulary_is_scored_in_parts_with_the_same_gradient(monkeypatch):
    model, tokens = tiny(*SHAPES[0]), tokens_of(2, 20)
    weights, target = fast.FastWeights(model), tokens_of(1, 40, seed=3)[0]
    found = []
    for most in (1 << 26, 260 * 7):  # all at once; 7 of 40 predictions at a time
        monkeypatch.setattr(fast, "MAX_SCORES", most)
        model.zero_grad()
        logprob, entropy = fast.score(weights, fast.hidden(weights, tokens).flatten(0, 1), target)
        logprob.square().sum().backward()
        found.append([logprob.detach(), entropy.detach(), *(p.grad.clone() for p in model.parameters())])
    for whole, parts in zip(*found, strict=True):
        assert (whole - parts).abs().max() <= 1e-5 * (1 + whole.abs().max())


def test_a_cache_grows_past_the_room_it_began_with():
    model, tokens = tiny(*SHAPES[0]), tokens_of(2, 50)
    weights = fast.FastWeights(model)
    cache = KVCache(weights, 2)
    steps = [chunk(weights, cache, tokens[:, n : n + 1], torch.full((2,), n)) for n in range(50)]
    assert (torch.cat(steps, 1) - fast.hidden(weights, tokens)).abs().max() < 2e-5


@pytest.mark.parametrize("how", [{"foreach": True}, {"foreach": False}, {"fused": True}])
def test_decoding_sees_every_optimizer_step(how):
    model, tokens = tiny(*SHAPES[1]), tokens_of(2, 10)
    weights = fast.FastWeights(model)
    start = torch.zeros(2, dtype=torch.long)
    chunk(weights, KVCache(weights, 2), tokens, start)  # fuses the weights as they are now
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, **how)
    for _ in range(2):
        optimizer.zero_grad()
        fast.logits(weights, fast.hidden(weights, tokens)).square().mean().backward()
        optimizer.step()
        got = fast.logits(weights, chunk(weights, KVCache(weights, 2), tokens, start))
        assert (got - model(tokens).logits).abs().max() < 2e-5


def test_decoding_sees_loaded_weights():
    model, other, tokens = tiny(*SHAPES[0]), build(ModelSpec(1), build_tokenizer(), 0), tokens_of(1, 10)
    weights = fast.FastWeights(model)
    start = torch.zeros(1, dtype=torch.long)
    chunk(weights, KVCache(weights, 1), tokens, start)
    model.load_state_dict({k: v * 1.5 for k, v in model.state_dict().items()})
    got = fast.logits(weights, chunk(weights, KVCache(weights, 1), tokens, start))
    assert (got - model(tokens).logits).abs().max() < 5e-5
    assert fast.supports(other)


def test_gradient_checkpointing_changes_no_gradient():
    model, tokens = tiny(*SHAPES[0]), tokens_of(2, 10)
    grads = []
    for _ in range(2):
        grads.append(torch.autograd.grad(fast_logits(model, tokens).square().sum(), model.lm_head.weight)[0])
        checkpoint_gradients(model)
    assert model.model.gradient_checkpointing
    assert torch.allclose(*grads)


@pytest.mark.parametrize(
    "more",
    [
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
        {"hidden_act": "gelu"},
        {"attention_dropout": 0.1},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0}},
    ],
)
def test_models_that_it_would_compute_wrongly_are_refused(more):
    model = tiny(QWEN, 4, more)
    assert fast.why_not(model)
    with pytest.raises(BadInput):
        fast.FastWeights(model)


def test_an_adapted_model_takes_the_generic_path():
    model = tiny(*SHAPES[0])
    before = fast.FastWeights(model)
    adapted = attach_lora(model, rank=2)
    assert not fast.supports(adapted)
    assert not fast.supports(model)
    with pytest.raises(BadInput, match="adapted"):
        fast.hidden(before, tokens_of(1, 4))


def test_the_gradient_of_an_entropy_is_the_one_worked_out_by_hand():
    logits_MV = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 3.0]], dtype=torch.float32, requires_grad=True)
    target_M = torch.tensor([0, 2])
    _, entropy_M = fast.score_logits(logits_MV, target_M, entropy_grad=True)
    (slope_MV,) = torch.autograd.grad(entropy_M.sum(), logits_MV)
    p_MV = logits_MV.detach().softmax(-1)
    by_hand_MV = -p_MV * (p_MV.log() + entropy_M.detach()[:, None])  # dH / dz_j = -p_j (log p_j + H)
    assert torch.allclose(slope_MV, by_hand_MV, atol=1e-6)
    plain_M = fast.score_logits(logits_MV, target_M)[1]
    assert torch.equal(plain_M, entropy_M.detach()) and not plain_M.requires_grad
    with torch.no_grad():
        assert not fast.score_logits(logits_MV, target_M, entropy_grad=True)[1].requires_grad
