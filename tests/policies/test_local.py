"""The contract of sampling on local weights, for both engines and two architectures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evolvent.envs import as_tool, calc
from evolvent.errors import BadInput
from evolvent.models import ModelSpec, attach_lora, build, build_tokenizer, checkpoint_gradients, load
from evolvent.policies import LocalPolicy
from evolvent.policies.decode import choose, truncate
from evolvent.records import Finish, Prompt, Sampling, said
from evolvent.seeds import uniforms

torch.set_num_threads(1)
ENGINES = ("fast", "generic")
CALC = as_tool(calc)


def nano(seed=0, sharpness=6.0):
    tokenizer = build_tokenizer()
    model = build(ModelSpec(depth=2, max_context=256), tokenizer, seed)
    with torch.no_grad():  # random weights say everything with the same probability; these have opinions
        model.model.norm.weight.mul_(sharpness)
    return model, tokenizer


@pytest.fixture(scope="module")
def models(tiny_llama):
    llama, tokenizer = load(str(tiny_llama), device="cpu")
    with torch.no_grad():
        llama.model.norm.weight.mul_(6.0)
    return {"qwen3": nano(), "llama": (llama, tokenizer)}


@pytest.fixture(params=[f"{kind}-{engine}" for kind in ("qwen3", "llama") for engine in ENGINES])
def policy(request, models):
    kind, engine = request.param.split("-")
    return LocalPolicy(*models[kind], engine=engine)


def ask(policy, i=0, words="12+34?", sample=0, room=None):
    tokens = policy.renderer.open([said("user", words)], (CALC,))
    return Prompt((), (CALC,), tokens, stream=("t", i, sample), max_tokens=room)


def many(policy, num=20):
    return [ask(policy, i, "12+34?" + "9" * (i % 7), room=5 + i % 9) for i in range(num)]


def fresh_logits(policy, prompt, made):
    """Logits behind every sampled token from one plain forward pass of the model itself."""
    ids = torch.tensor([[*prompt.tokens, *made.tokens]])
    with torch.no_grad():
        return policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt.tokens) - 1 : -1].double()


def by_hand(logits, how):
    """Sampling probabilities by sorting in numpy: temperature, then the k likeliest, then the smallest mass >= p."""
    table = []
    for row in (logits.numpy() / how.temperature).astype(np.float64):
        p = np.exp(row - row.max())
        p /= p.sum()
        order = np.argsort(-p, kind="stable")
        kept = order[: how.top_k] if how.top_k else order
        q = p[kept] / p[kept].sum()
        num = int(np.searchsorted(np.cumsum(q), how.top_p - 1e-9)) + 1 if how.top_p < 1 else len(kept)
        final = np.full(len(p), -np.inf)
        with np.errstate(divide="ignore"):
            final[kept[:num]] = np.log(q[:num] / q[:num].sum())
        table.append(final)
    return np.array(table)


def test_greedy_takes_the_likeliest_token_and_twice_the_same(policy):
    how = Sampling(8, temperature=0.0)
    first, second = policy.sample_now([ask(policy)], how), policy.sample_now([ask(policy, 9)], how)
    assert first[0].tokens == second[0].tokens
    assert list(first[0].tokens) == fresh_logits(policy, ask(policy), first[0]).argmax(-1).tolist()
    assert set(first[0].sampled_logprobs) == {0.0}  # the only token that could be drawn


def test_model_logprobs_are_those_of_a_fresh_forward_pass(policy):
    prompts = many(policy)
    for prompt, made in zip(prompts, policy.sample_now(prompts, Sampling(12, seed=3)), strict=True):
        expected = fresh_logits(policy, prompt, made).log_softmax(-1)[range(len(made.tokens)), list(made.tokens)]
        np.testing.assert_allclose(made.model_logprobs, expected, atol=1e-4)
        assert made.sampled_logprobs == made.model_logprobs


@pytest.mark.parametrize(
    "how",
    [
        Sampling(10, temperature=0.7, seed=1),
        Sampling(10, top_k=5, seed=2),
        Sampling(10, top_p=0.8, seed=3),
        Sampling(10, temperature=1.4, top_k=20, top_p=0.9, seed=4),
    ],
    ids=["temperature", "top-k", "top-p", "all three"],
)
def test_sampled_logprobs_are_after_temperature_and_truncation(policy, how):
    prompts = many(policy)
    for prompt, made in zip(prompts, policy.sample_now(prompts, how), strict=True):
        logits = fresh_logits(policy, prompt, made)
        place = range(len(made.tokens)), list(made.tokens)
        np.testing.assert_allclose(made.sampled_logprobs, by_hand(logits, how)[place], atol=1e-4)
        np.testing.assert_allclose(made.model_logprobs, logits.log_softmax(-1)[place], atol=1e-4)
        assert made.sampled_logprobs != made.model_logprobs


def test_a_stream_gives_the_same_tokens_whatever_else_is_in_the_batch(policy):
    prompts, how = many(policy), Sampling(14, seed=5)
    together = policy.sample_now(prompts, how)
    backwards = policy.sample_now(prompts[::-1], how)[::-1]
    for prompt, one, other in zip(prompts, together, backwards, strict=True):
        alone = policy.sample_now([prompt], how)[0]
        assert one.tokens == other.tokens == alone.tokens
        np.testing.assert_allclose(alone.model_logprobs, one.model_logprobs, atol=1e-4)
    assert len({c.tokens for c in together}) > 10


def test_a_group_shares_its_prompt_and_not_its_words(policy):
    prompts = [ask(policy, sample=s) for s in range(8)]
    made = policy.sample_now(prompts, Sampling(10, seed=6))
    assert len({c.tokens for c in made}) > 4
    for prompt, completion in zip(prompts, made, strict=True):
        expected = fresh_logits(policy, prompt, completion).log_softmax(-1)
        expected = expected[range(len(completion.tokens)), list(completion.tokens)]
        np.testing.assert_allclose(completion.model_logprobs, expected, atol=1e-4)


def test_rows_end_at_a_stop_token_which_is_part_of_them_or_at_their_room(policy):
    # a table row scaled up makes an end likely
    prompts = [ask(policy, i, room=3 + i % 12) for i in range(64)]
    made = policy.sample_now(prompts, Sampling(40, temperature=3.0, seed=7))
    stops = policy.renderer.stop_ids
    for prompt, completion in zip(prompts, made, strict=True):
        assert not stops & set(completion.tokens[:-1])
        ended = completion.tokens[-1] in stops
        assert len(completion.tokens) == prompt.max_tokens or ended
        assert (completion.finish == Finish.LENGTH) == (not ended)
        assert len(completion.tokens) == len(completion.sampled_logprobs) == len(completion.model_logprobs)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_end_is_met_and_kept(engine):
    model, tokenizer = nano()
    policy = LocalPolicy(model, tokenizer, engine=engine)
    made = policy.sample_now([ask(policy, i) for i in range(200)], Sampling(60, temperature=4.0, seed=8))
    ends = {tokenizer.convert_tokens_to_ids(m) for m in ("<|end|>", "<|end_call|>")}
    assert ends == policy.renderer.stop_ids
    ended = [c for c in made if c.finish != Finish.LENGTH]
    assert ended
    assert all(c.tokens[-1] in ends for c in ended)
    assert {c.finish for c in ended if c.tokens[-1] != policy.renderer.call_id} <= {Finish.STOP, Finish.CALL}


def test_a_later_turn_says_the_same_with_and_without_the_kept_context(policy):
    how = Sampling(12, seed=9)
    first = many(policy)
    spoken = policy.sample_now(first, how)
    later = [
        Prompt((), (CALC,), (*p.tokens, *c.tokens, *policy.renderer.extend([said("user", "and?" * (i % 5 + 1))])),
               stream=("later", i), continues=c.call_id)
        for i, (p, c) in enumerate(zip(first, spoken, strict=True))
    ]  # fmt: skip
    reused = policy.sample_now(later, how)
    policy.forget()
    anew = policy.sample_now(later, how)
    for prompt, one, other in zip(later, reused, anew, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_allclose(one.model_logprobs, other.model_logprobs, atol=1e-4)
        expected = fresh_logits(policy, prompt, one).log_softmax(-1)[range(len(one.tokens)), list(one.tokens)]
        np.testing.assert_allclose(one.model_logprobs, expected, atol=1e-4)


def test_kept_context_of_other_tokens_is_not_used(policy):
    how = Sampling(6, seed=10)
    spoken = policy.sample_now([ask(policy)], how)[0]
    other = policy.renderer.open([said("user", "something else, and longer than what was said before")])
    wrong = Prompt((), (), other, stream=("x",), continues=spoken.call_id)
    made = policy.sample_now([wrong], how)[0]
    policy.forget()
    assert made.tokens == policy.sample_now([wrong], how)[0].tokens


@pytest.mark.parametrize("engine", ENGINES)
def test_after_an_update_nothing_old_is_used(engine):
    policy = LocalPolicy(*nano(), engine=engine)
    how = Sampling(8, seed=11)
    first = ask(policy)
    spoken = policy.sample_now([first], how)[0]
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    policy.updated()
    assert policy.version == spoken.version + 1
    later = Prompt((), (), (*first.tokens, *spoken.tokens, *b"and?"), stream=("l",), continues=spoken.call_id)
    for prompt in (first, later):
        made = policy.sample_now([prompt], how)[0]
        assert made.version == 1
        expected = fresh_logits(policy, prompt, made).log_softmax(-1)[range(len(made.tokens)), list(made.tokens)]
        np.testing.assert_allclose(made.model_logprobs, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_both_engines_say_the_same(kind, models):
    how = Sampling(12, temperature=0.9, top_p=0.95, seed=12)
    fast, generic = (LocalPolicy(*models[kind], engine=e) for e in ENGINES)
    pairs = list(zip(fast.sample_now(many(fast), how), generic.sample_now(many(generic), how), strict=True))
    assert {c.route for pair in pairs for c in pair} == set(ENGINES)
    same = [(a, b) for a, b in pairs if a.tokens == b.tokens]
    assert len(same) >= len(pairs) - 1  # a draw on the border between two tokens may fall to either side
    for a, b in same:
        np.testing.assert_allclose(a.sampled_logprobs, b.sampled_logprobs, atol=1e-4)
        np.testing.assert_allclose(a.model_logprobs, b.model_logprobs, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_samples_and_its_logprobs_are_near_those_of_the_trainer(engine):
    model, tokenizer = nano(sharpness=1.0)
    policy = LocalPolicy(model.to(torch.bfloat16), tokenizer, engine=engine)
    prompts = many(policy)
    made = policy.sample_now(prompts, Sampling(12, seed=13))
    rows = [[*p.tokens, *c.tokens] for p, c in zip(prompts, made, strict=True)]
    longest = max(map(len, rows))
    token_BT = torch.tensor([r + [0] * (longest - len(r)) for r in rows])
    mask_BT = torch.zeros_like(token_BT, dtype=torch.bool)
    for i, (p, c) in enumerate(zip(prompts, made, strict=True)):
        mask_BT[i, len(p.tokens) : len(p.tokens) + len(c.tokens)] = True
    with torch.no_grad():
        again, entropy = policy.logprobs(policy.lay_out(token_BT.numpy(), mask_BT.numpy()))
    np.testing.assert_allclose(again, [x for c in made for x in c.model_logprobs], atol=0.2)
    assert entropy.dtype == torch.float32


@pytest.mark.parametrize("grain", [2, 4, 32])
def test_ended_rows_that_ride_along_disturb_nobody(grain):
    model, tokenizer = nano()
    alone, riding = (LocalPolicy(model, tokenizer, engine="fast") for _ in range(2))
    riding.engine._grain = grain
    # groups of 4 share a prompt, so full tables, swaps and tables laid anew all occur; a later turn goes on from there
    prompts = [ask(alone, i // 4, "12+34?" + "9" * (i // 4), room=2 + (7 * i) % 11) for i in range(24)]
    prompts = [replace(p, stream=(i,)) for i, p in enumerate(prompts)]
    for turn in range(2):
        made = [p.sample_now(prompts, Sampling(12, seed=13)) for p in (alone, riding)]
        for prompt, a, b in zip(prompts, *made, strict=True):
            assert a.tokens == b.tokens, (turn, prompt.stream)
            wanted = fresh_logits(alone, prompt, b).log_softmax(-1).gather(-1, torch.tensor(b.tokens)[:, None])[:, 0]
            np.testing.assert_allclose(b.model_logprobs, wanted, atol=1e-4)
        prompts = [
            replace(p, tokens=(*p.tokens, *a.tokens, 65, 66), continues=a.call_id)
            for p, a in zip(prompts, made[0], strict=True)
        ]


def test_the_trainer_reads_the_logprobs_that_the_sampler_wrote(policy):
    prompts = many(policy, 6)
    made = policy.sample_now(prompts, Sampling(12, seed=14))
    rows = [[*p.tokens, *c.tokens] for p, c in zip(prompts, made, strict=True)]
    longest = max(map(len, rows))
    token_BT = torch.tensor([r + [policy.pad_id] * (longest - len(r)) for r in rows])
    mask_BT = torch.tensor(
        [[len(p.tokens) <= t < len(r) for t in range(longest)] for p, r in zip(prompts, rows, strict=True)]
    )
    logprob_N, entropy_N = policy.logprobs(policy.lay_out(token_BT.numpy(), mask_BT.numpy()))
    np.testing.assert_allclose(logprob_N.detach(), [x for c in made for x in c.model_logprobs], atol=1e-4)
    assert logprob_N.requires_grad
    assert not entropy_N.requires_grad
    table = fresh_logits(policy, prompts[0], made[0]).log_softmax(-1)
    np.testing.assert_allclose(entropy_N[: len(table)], -(table.exp() * table).sum(-1), atol=1e-3)


@pytest.mark.parametrize(
    "prompt", [Prompt((said("user", "a"),)), Prompt((), tokens=()), Prompt((), tokens=(1,), max_tokens=0)]
)
def test_a_prompt_without_tokens_or_room_is_refused(prompt):
    with pytest.raises(BadInput, match="token ids, and room"):
        LocalPolicy(*nano()).sample_now([prompt], Sampling(4))


def test_a_prompt_longer_than_the_context_is_refused(policy):
    longest = policy.max_context
    fits = Prompt((), tokens=tuple([65] * (longest - 4)))
    assert policy.sample_now([fits], Sampling(4, seed=1))
    with pytest.raises(BadInput, match="longer than the context"):
        policy.sample_now([fits], Sampling(5))


@pytest.mark.parametrize("odd", [{"temperature": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_sampling_that_makes_no_sense_is_refused(odd):
    policy = LocalPolicy(*nano())
    with pytest.raises(BadInput, match=next(iter(odd))):
        policy.sample_now([ask(policy)], Sampling(4, **odd))


def test_an_engine_that_does_not_fit_is_refused():
    model, tokenizer = nano()
    with pytest.raises(BadInput, match="unknown engine"):
        LocalPolicy(model, tokenizer, engine="warp")
    with pytest.raises(BadInput, match="no fast path"):
        LocalPolicy(attach_lora(model), tokenizer, engine="fast")


def test_more_rows_than_are_decoded_together_come_back_in_order():
    from evolvent.policies import local

    policy = LocalPolicy(*nano())
    prompts = [ask(policy, i, room=1) for i in range(local.MAX_ROWS + 3)]
    made = policy.sample_now(prompts, Sampling(2, seed=15))
    assert [c.call_id for c in made] == [f"t/{i}/0@0" for i in range(len(prompts))]
    assert made[-1].tokens == policy.sample_now(prompts[-1:], Sampling(2, seed=15))[0].tokens


def test_draws_follow_the_distribution():
    logits_V = torch.tensor([2.0, 1.0, 0.0, -1.0, -torch.inf, 0.5])
    num = 20_000
    uniform_R = torch.from_numpy(uniforms(0, "chi", num=num))
    for how in (Sampling(1), Sampling(1, temperature=0.5), Sampling(1, top_k=3), Sampling(1, top_p=0.9)):
        token_R, sampled_R, _ = choose(logits_V.expand(num, -1), uniform_R, how)
        expected = np.exp(by_hand(logits_V[None].double(), how)[0])
        counts = np.bincount(token_R, minlength=6)
        assert not counts[expected == 0].any()
        held = expected > 0
        chi2 = ((counts[held] - num * expected[held]) ** 2 / (num * expected[held])).sum()
        assert chi2 < 20.5  # the 99.9 % point for 5 degrees of freedom
        np.testing.assert_allclose(sampled_R[:50].exp(), expected[token_R[:50]], rtol=1e-4)


def test_a_draw_at_the_very_end_never_takes_a_token_that_was_left_out():
    logits_RV = torch.tensor([[0.0, 0.0, -5.0, -5.0]])
    for how in (Sampling(1, top_k=2), Sampling(1, top_p=0.5), Sampling(1)):
        token_R, sampled_R, model_R = choose(logits_RV, torch.tensor([1 - 1e-12], dtype=torch.float64), how)
        assert torch.isfinite(sampled_R).all()
        assert torch.isfinite(model_R).all()
        assert token_R[0] < 2 or how == Sampling(1)


def test_truncation_keeps_a_distribution():
    table = torch.randn(50, 30, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    for top_k, top_p in ((1, 1.0), (0, 1e-6), (7, 0.5), (100, 0.99)):
        kept = truncate(table, top_k, top_p)
        torch.testing.assert_close(kept.exp().sum(-1), torch.ones(50))
        assert (kept.argmax(-1) == table.argmax(-1)).all()
    assert (torch.isfinite(truncate(table, 1, 1.0)).sum(-1) == 1).all()


def test_a_copy_does_not_learn():
    policy = LocalPolicy(*nano())
    twin = policy.copy()
    assert not twin.parameters()
    assert all(a is not b for a, b in zip(policy.parameters(), twin.model.parameters(), strict=True))
    with torch.no_grad():
        policy.parameters()[0].add_(1.0)
    assert not torch.equal(policy.parameters()[0], next(twin.model.parameters()))


@pytest.mark.parametrize("adapter", [False, True])
def test_recomputing_layers_gives_the_same_gradient_and_leaves_no_trace(adapter):
    def gradient(recomputes):
        model, tokenizer = nano()
        model = attach_lora(model, seed=1) if adapter else model
        calls = []
        layer = next(m for n, m in model.named_modules() if n.endswith("layers.0.mlp"))
        layer.register_forward_pre_hook(lambda *_: calls.append(1))
        if recomputes:
            checkpoint_gradients(model)
        policy = LocalPolicy(model, tokenizer, engine="generic")
        tokens = np.arange(20)[None]
        logprob_N, _ = policy.logprobs(policy.lay_out(tokens, tokens > 5))
        logprob_N.sum().backward()
        assert not any(m.training for m in model.modules())
        return len(calls), [p.grad for p in policy.parameters() if p.grad is not None]

    plain, recomputed = gradient(False), gradient(True)
    assert (plain[0], recomputed[0]) == (1, 2)
    for a, b in zip(plain[1], recomputed[1], strict=True):
        torch.testing.assert_close(a, b)


def test_weights_come_back_from_a_folder_bit_for_bit(tmp_path):
    policy, other = LocalPolicy(*nano(0)), LocalPolicy(*nano(1))
    policy.save(tmp_path / "kept")
    other.load_weights(tmp_path / "kept")
    for a, b in zip(policy.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    how = Sampling(8, seed=16)
    assert other.sample_now([ask(other)], how) == policy.sample_now([ask(policy)], how)
