import math
from dataclasses import replace

import pytest

from evolvent.errors import GateFailed
from evolvent.records import (
    Episode,
    Finish,
    Message,
    Origin,
    Prompt,
    Reference,
    Sampling,
    Task,
    Text,
    Tool,
    ToolCall,
    Trace,
    Turn,
    said,
)
from evolvent.training.gates import (
    check_faults,
    check_finite,
    check_gap,
    check_masks,
    check_round_trip,
    check_versions,
)

CALC = Tool("calc", "calculates", {"type": "object", "properties": {"expression": {"type": "string"}}})
TASK = Task("t", "f", 1, (said("user", "what is 1+2?"),), None, Reference("a:b"), Origin("made"))


@pytest.fixture(scope="module")
def policy(make_policy):
    return make_policy()


@pytest.fixture(scope="module")
def episode(policy):
    """A turn heard, one sampled from the policy itself, one recited with a call, and one recited in words."""
    heard = policy.renderer.open(TASK.prompt, (CALC,))
    how = Sampling(12, seed=1)
    made = policy.sample_now([Prompt(TASK.prompt, (CALC,), heard, ("t", 0))], how)[0]
    call = Message("assistant", (ToolCall("calc", {"expression": "1 + 2"}),))
    words = said("assistant", "It is 3.")

    def turn(number, message, tokens, own, **more):
        return Turn(f"t/0/agent/{number}", None, "agent", number, message, tuple(tokens), (own,) * len(tokens), **more)

    turns = (
        turn(0, TASK.prompt[0], heard, False, starts_context=True),
        turn(
            1, made.message, made.tokens, True, sampled_logprobs=made.sampled_logprobs,
            model_logprobs=made.model_logprobs, version=made.version, sampling=how, finish=str(made.finish),
        ),
        turn(2, call, policy.renderer.reply(call, (CALC,)), True, finish="recited"),
        turn(3, words, policy.renderer.reply(words, (CALC,)), True, finish="recited"),
    )  # fmt: skip
    return Episode("t/0", TASK, 0, (Trace("t", 0, "agent", "agent", turns),), "3")


def changed(episode, number, **fields):
    (trace,) = episode.traces
    turns = list(trace.turns)
    turns[number] = replace(turns[number], **fields)
    return replace(episode, traces=(replace(trace, turns=tuple(turns)),))


def stops(check, *arguments, match):
    with pytest.raises(GateFailed, match=match) as caught:
        check(*arguments)
    error = caught.value
    assert error.what and error.got is not None and error.wanted is not None and error.cure
    return error


def test_what_was_played_as_it_should_be_passes_every_gate(policy, episode):
    policies = {"agent": policy}
    check_masks([episode])
    check_versions([episode], policies)
    check_round_trip([episode], policies)
    check_faults(0, 1, 0.25)
    check_gap(1e-6, 1e-3, policy)
    check_finite(0.5, policy)
    for check in (check_masks, lambda e: check_versions(e, policies), lambda e: check_round_trip(e, policies)):
        check([])


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("gap", [1.001e-3, 5.0, math.inf, math.nan])
def test_a_gap_beyond_the_bound_stops(policy, gap):
    error = stops(check_gap, gap, 1e-3, policy, match="disagree")
    assert "policy 'agent', version 0" in error.where
    check_gap(1e-3, 1e-3, policy)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_stops(policy, value):
    assert "lower optimizer.lr" in stops(check_finite, value, policy, match="not a finite number").cure


@pytest.mark.parametrize(
    ("num", "bound", "passes"), [(1, 0.25, True), (2, 0.25, False), (4, 1.0, True), (1, 0.0, False)]
)
def test_the_share_of_broken_episodes_is_bounded(num, bound, passes):
    if passes:
        check_faults(num, 4, bound)
    else:
        assert "4" in stops(check_faults, num, 4, bound, match="broke").got
    assert "no such file" in stops(check_faults, 4, 4, 0.1, "no such file", match="broke").got
    check_faults(0, 0, 0.0)


# ---------------------------------------------------------------- masks


def test_a_mask_over_what_was_heard_stops(episode):
    heard = episode.traces[0].turns[0]
    error = stops(check_masks, [changed(episode, 0, mask=(False,) * (len(heard.tokens) - 1) + (True,))], match="mask")
    assert error.where == "t/0/agent/0"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_mask_that_leaves_out_a_written_token_stops(episode, number):
    mask = episode.traces[0].turns[number].mask
    stops(check_masks, [changed(episode, number, mask=(False, *mask[1:]))], match="mask")


@pytest.mark.parametrize("cut", [slice(1, None), slice(None, -1)])
def test_a_mask_or_log_probabilities_of_another_length_stop(episode, cut):
    turn = episode.traces[0].turns[1]
    for field in ("mask", "sampled_logprobs", "model_logprobs"):
        stops(check_masks, [changed(episode, 1, **{field: getattr(turn, field)[cut]})], match="mask")


def test_sampled_words_without_log_probabilities_stop_since_the_gap_would_be_blind(episode):
    bare = changed(episode, 1, sampled_logprobs=())
    stops(check_masks, [bare], match="mask")
    # where nothing is trained on them (an endpoint that gives none), they are allowed
    check_masks([replace(bare, traces=(replace(bare.traces[0], trainable=False),))])


def test_one_bad_turn_among_many_episodes_is_found(episode):
    bad = changed(episode, 3, mask=())
    stops(check_masks, [episode] * 5 + [bad], match="mask")


# ---------------------------------------------------------------- versions


class Weights:
    def __init__(self, version):
        self.version = version


@pytest.mark.parametrize("now", [1, -1, 7])
def test_a_turn_of_other_weights_stops(episode, now):
    check_versions([episode], {"agent": Weights(0)})
    error = stops(check_versions, [episode], {"agent": Weights(now)}, match="other weights")
    assert error.got == "version [0]" and error.wanted == f"version {now}" and "t/0" in error.where


def test_one_stale_turn_in_a_trace_is_found(policy, episode):
    (trace,) = episode.traces
    twice = replace(episode, traces=(replace(trace, turns=(*trace.turns, replace(trace.turns[1], version=3))),))
    stops(check_versions, [twice], {"agent": policy}, match="other weights")


# ---------------------------------------------------------------- words and tokens


def test_words_that_are_not_those_of_the_tokens_stop(policy, episode):
    for number in (1, 3):
        planted = changed(episode, number, message=said("assistant", "It is 4."))
        error = stops(check_round_trip, [planted], {"agent": policy}, match="words of a turn")
        assert error.where == f"t/0/agent/{number}" and "It is 4." in error.got


def test_words_that_a_reply_was_given_to_begin_with_are_in_what_was_heard(policy, episode):
    (trace,) = episode.traces
    heard = trace.turns[0]
    told = replace(heard, tokens=(*heard.tokens, *b"so "), mask=(*heard.mask, *(False,) * 3))

    def with_turns(*turns):
        return replace(episode, traces=(replace(trace, turns=turns),))

    plain = next(t for t in trace.turns if t.message.role == "assistant" and not t.message.calls)
    begun = replace(plain, message=said("assistant", "so " + plain.message.text))
    check_round_trip([with_turns(told, begun)], {"agent": policy})
    stops(check_round_trip, [with_turns(heard, begun)], {"agent": policy}, match="words of a turn")


def test_tokens_changed_behind_the_words_stop(policy, episode):
    turn = episode.traces[0].turns[3]
    stops(
        check_round_trip, [changed(episode, 3, tokens=(ord("X"), *turn.tokens[1:]))], {"agent": policy}, match="words"
    )


@pytest.mark.parametrize(
    "blocks",
    [
        (ToolCall("calc", {"expression": "1 + 3"}),),
        (ToolCall("calc", {"expression": "1 + 2"}, raw="1 + 3"),),
        (ToolCall("calc", None, raw="nonsense"),),
        (Text("calc 1 + 2"),),
        (),
        (ToolCall("calc", {"expression": "1 + 2"}), ToolCall("calc", {"expression": "1 + 2"})),
    ],
)
def test_a_call_that_is_not_that_of_the_tokens_stops(policy, episode, blocks):
    planted = changed(episode, 2, message=Message("assistant", blocks))
    stops(check_round_trip, [planted], {"agent": policy}, match="words of a turn")


def test_a_call_as_it_was_sampled_passes_whatever_is_in_it(policy, episode):
    renderer = policy.renderer
    good = renderer.reply(Message("assistant", (ToolCall("calc", {"expression": "1 + 2"}),)), (CALC,))
    for tokens in (good, good[:-1], (*b"so: ", *good), good + good):
        message = renderer.parse(tokens, (CALC,))
        sampled = changed(
            episode, 1, message=message, tokens=tuple(tokens), mask=(True,) * len(tokens),
            sampled_logprobs=(0.0,) * len(tokens), model_logprobs=(0.0,) * len(tokens), finish=str(Finish.CALL),
        )  # fmt: skip
        check_round_trip([sampled], {"agent": policy})


def test_a_policy_without_a_tokenizer_has_no_round_trip(episode):
    check_round_trip([changed(episode, 3, message=said("assistant", "else"))], {"agent": Weights(0)})
