import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.credit.batch import assign
from evolvent.credit.unread import LiveUnread, Unread, blocks, find_blocks, spell
from evolvent.errors import BadInput
from evolvent.models import ModelSpec, build, build_tokenizer
from evolvent.policies import LocalPolicy
from evolvent.records import Episode, Origin, Reference, Score, Task, Text, Trace, Turn, said
from evolvent.records import Message as Words
from evolvent.training.losses import Clip, PolicyLoss, Totals, per_token, sequence_mean
from evolvent.training.terms import KL, Entropy
from evolvent.training.update import Micro, _Reader

torch.set_num_threads(1)
TASK = Task("t", "f", 1, (said("user", "q"),), None, Reference("evolvent.rewards:exact"), Origin("test"))
OPENS, CLOSES = "<information>", "</information>"
REPLIES = {
    "one line": "<think>a</think><information>b c</information><answer>d</answer>",
    "several lines": "<think>a</think>\n<information>\nb\n\nc\n</information>\n<answer>d</answer>",
    "twice the same": "<information>b</information><think>a</think><information>b</information><answer>d</answer>",
    "never closed": "<think>a</think><information>b and no end",
    "none": "<think>a</think><answer>d</answer>",
    "half characters": "<think>ä</think><information>日本\n語</information><answer>é</answer>",
}
TOKENIZERS = {
    "bytes": build_tokenizer(),
    "merged": build_tokenizer(400, ["</think><information>b c</information><answer>d</answer>\n"] * 9),
}


def policy_of(tokenizer):
    model = build(ModelSpec(depth=1, vocab_size=None), tokenizer, seed=0)
    return LocalPolicy(model, tokenizer, engine="generic")


def trace_of(policy, reply, sample=0, value=0.0, **components):
    renderer = policy.renderer
    heard = renderer.open((said("user", f"say {OPENS}x{CLOSES}?"),))
    spoken = renderer.reply(said("assistant", reply), ())
    logprobs = (-1.0,) * len(spoken)
    turns = (
        Turn("0", None, "agent", 0, said("user", "q"), heard, (False,) * len(heard), starts_context=True),
        Turn("1", "0", "agent", 1, said("assistant", reply), spoken, (True,) * len(spoken), logprobs, logprobs),
    )
    return Trace("t", sample, "agent", "agent", turns, score=Score(value, components))


def batch_of(policy, replies, advantage, **components):
    traces = [trace_of(policy, reply, i, float(i % 2), **components) for i, reply in enumerate(replies)]
    episodes = [Episode(f"t/{i}", TASK, i, (trace,)) for i, trace in enumerate(traces)]
    return assign(episodes, "agent", advantage, keeps_all=True), traces


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("kind", REPLIES)
def test_no_token_of_a_block_is_a_target_and_all_others_are(name, kind):
    policy, reply = policy_of(TOKENIZERS[name]), REPLIES[kind]
    batch, (trace, _) = batch_of(
        policy, [reply, "x"], Unread(Standardized(1, 1e-6), OPENS, CLOSES).begin_beside(policy)
    )
    row = next(row for row in batch.rows if row.trace[1] == 0)
    is_inside = find_blocks(trace, OPENS, CLOSES, policy.renderer.text)
    assert list(row.mask) == [own and not inside for own, inside in zip(trace.mask, is_inside, strict=True)]
    assert all(trace.mask[len(trace.turns[0].tokens) :]), "the record still says who wrote what"
    hidden = [token for token, inside in zip(trace.tokens, is_inside, strict=True) if inside]
    wanted = "".join(reply[start:end] for start, end in blocks(reply, OPENS, CLOSES))
    if kind == "never closed":
        wanted += "<|end|>"
    if name == "bytes":
        assert policy.renderer.text(hidden) == wanted
    else:  # a token may hold the bracket beside a block as well
        assert re.sub("[<>]", "", policy.renderer.text(hidden)) == re.sub("[<>]", "", wanted)
    assert not row.credit[~row.mask].any() and (row.sampler_logprobs[~row.mask] == 0).all()
    assert not is_inside[: len(trace.turns[0].tokens)].any(), "the prompt explains the tags, and is no information"


def test_a_disturbance_of_the_logits_of_information_leaves_the_loss_as_it_was():
    """Every part of a loss that reaches tokens is in it: the gain, a divergence, an entropy."""
    policy = policy_of(TOKENIZERS["bytes"])
    replies = [REPLIES[k] for k in ("several lines", "twice the same", "one line", "never closed")]
    advantage = Unread(Standardized(1, 1e-6), OPENS, CLOSES).begin_beside(policy)
    loss = PolicyLoss(per_token, Clip(0.2, 0.2), sequence_mean, terms=(KL(0.1), Entropy(0.1)))
    batch, traces = batch_of(policy, replies, advantage)
    everything, _ = batch_of(policy, replies, Standardized(1, 1e-6))
    longest = max(len(row.tokens) for row in batch.rows)
    is_information = np.zeros((len(traces), longest, 1))
    for number, trace in enumerate(traces):
        is_information[number, : len(trace.tokens), 0] = find_blocks(trace, OPENS, CLOSES, policy.renderer.text)
    before = np.roll(is_information, -1, axis=1)  # a token is predicted at the place before it
    noise = 3 * torch.randn(len(traces), longest, len(policy.tokenizer), generator=torch.Generator().manual_seed(0))
    on_information = noise * torch.from_numpy(before).float()
    calm = _loss(policy, batch, loss)
    assert _loss(policy, batch, loss, on_information) == calm
    assert _loss(policy, batch, loss, noise - on_information) != calm
    assert _loss(policy, everything, loss, on_information) != _loss(policy, everything, loss)


def _loss(policy, batch, loss, noise=None):
    reader = _Reader(policy, loss, policy.copy())

    def disturb(_, __, logits):
        return logits if noise is None else logits + noise[:, : logits.shape[1]]

    added = policy.model.lm_head.register_forward_hook(disturb)
    micro = Micro.of(batch.rows, policy, "cpu")
    tokens, _ = reader.read(micro, batch.rows, None, 1.0)
    added.remove()
    totals = Totals(sum(r.num_targets for r in batch.rows), len(batch.rows))
    return float(loss(tokens, totals).detach())


def test_the_rest_of_a_trace_is_credited_as_without_it():
    policy = policy_of(TOKENIZERS["bytes"])
    inner = Standardized(1, 1e-6)
    (with_it, _), (without, _) = (
        batch_of(policy, [REPLIES["one line"], "x"], a)
        for a in (Unread(inner, OPENS, CLOSES).begin_beside(policy), inner)
    )
    for hidden, whole in zip(with_it.rows, without.rows, strict=True):
        assert (hidden.credit[hidden.mask] == whole.credit[hidden.mask]).all()
    assert with_it.rows[0].num_targets < without.rows[0].num_targets
    assert with_it.rows[1].num_targets == without.rows[1].num_targets


def test_a_component_says_which_traces_it_is_for():
    policy = policy_of(TOKENIZERS["bytes"])
    advantage = Unread(imitate_all, OPENS, CLOSES, "num_real").begin_beside(policy)
    real, self_written = (
        batch_of(policy, [REPLIES["one line"]], advantage, num_real=n)[0].rows[0].num_targets for n in (1.0, 0.0)
    )
    assert self_written - real == len("<information>b c</information>")


def test_words_of_an_engine_inside_a_reply_close_its_blocks():
    policy = policy_of(TOKENIZERS["bytes"])
    parts = [("assistant", "<think>a</think>", True), ("tool", f"{OPENS}b{CLOSES}", False), ("assistant", "rest", True)]
    turns = [Turn("0", None, "agent", 0, said("user", "q"), (1,), (False,), starts_context=True)]
    for number, (role, text, own) in enumerate(parts, 1):
        tokens = policy.renderer.plain(text)
        turns.append(Turn(str(number), None, "agent", number, Words(role, (Text(text),)), tokens, (own,) * len(tokens)))
    trace = Trace("t", 0, "agent", "agent", tuple(turns))
    is_inside = find_blocks(trace, OPENS, CLOSES, policy.renderer.text)
    hidden = [t for t, inside in zip(trace.tokens, is_inside, strict=True) if inside]
    assert policy.renderer.text(hidden) == f"{OPENS}b{CLOSES}"


@given(st.text(alphabet="ab<>/\nä日", max_size=40), st.sampled_from(sorted(TOKENIZERS)))
def test_the_pieces_of_tokens_make_the_text(text, name):
    renderer = policy_text(name)
    tokens = renderer.plain(text)
    pieces = spell(tokens, renderer.text)
    assert "".join(pieces) == text and len(pieces) == len(tokens)


RENDERERS = {}


def policy_text(name):
    return RENDERERS.setdefault(name, policy_of(TOKENIZERS[name]).renderer)


@given(st.text(alphabet="ab[]", max_size=30))
def test_blocks_do_not_overlap_and_hold_every_opening_mark(text):
    found = list(blocks(text, "[", "]"))
    outside = text
    for start, end in reversed(found):
        assert text[start] == "[" and (text[end - 1] == "]" or end == len(text))
        outside = outside[:start] + outside[end:]
    assert "[" not in outside
    assert all(a[1] <= b[0] for a, b in pairwise(found))


def test_a_group_that_faults_left_too_small_has_no_signal():
    policy = policy_of(TOKENIZERS["bytes"])
    batch, _ = batch_of(policy, ["x"], Unread(Standardized(1, 1e-6), OPENS, CLOSES).begin_beside(policy))
    assert batch.num_dead_groups == 1


def test_it_remains_an_advantage_where_no_tokens_are_known():
    plan = Unread(Standardized(1, 0.0), OPENS, CLOSES)
    assert plan([1.0, 0.0]) == LiveUnread(plan, str)([1.0, 0.0]) == Standardized(1, 0.0)([1.0, 0.0])
    assert plan.min_group == 2 and Unread(imitate_all, "[", "]").min_group == 1
    with pytest.raises(BadInput, match="mark"):
        Unread(imitate_all, "", "]")
