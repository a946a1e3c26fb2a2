import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.credit.across import BatchWhitened, MovingBaseline
from evolvent.credit.advantage import Standardized, imitate, imitate_all
from evolvent.credit.batch import assign, form_groups, rows_of
from evolvent.credit.stepwise import StepWise
from evolvent.errors import BadInput
from evolvent.records import (
    Episode,
    Fault,
    Message,
    Origin,
    Outcome,
    Reference,
    Sampling,
    Score,
    Span,
    Task,
    Text,
    Trace,
    Turn,
    said,
)

GRPO = Standardized(ddof=1, eps=0.0)


def heard(*tokens, starts=False):
    return Turn("h", None, "s", 0, said("user", "q"), tokens, (False,) * len(tokens), starts_context=starts)


def spoken(*tokens, version=0, starts=False):
    logprobs = tuple(-0.25 * (i + 1) for i in range(len(tokens)))
    return Turn(
        "s", None, "s", 0, Message("assistant", (Text("a"),)), tokens, (True,) * len(tokens), logprobs, logprobs,
        version=version, sampling=Sampling(8), starts_context=starts,
    )  # fmt: skip


def recited(*tokens):
    return replace(spoken(*tokens), sampled_logprobs=(), model_logprobs=(), version=-1, sampling=None)


def task(name):
    return Task(name, "family", 1, (said("user", name),), None, Reference("a:b"), Origin("made"))


def trace(name, sample, value, seat="agent", turns=None, **more):
    turns = (heard(1, 2, starts=True), spoken(3, 4, 5)) if turns is None else turns
    score = None if value is None else Score(value)
    return Trace(name, sample, seat, more.pop("policy", "p"), turns, score=score, **more)


def episode(name, sample, *traces):
    return Episode(f"{name}/{sample}", task(name), sample, traces)


def group(name, *values):
    return [episode(name, i, trace(name, i, v)) for i, v in enumerate(values)]


def test_credit_worked_by_hand_and_only_where_the_policy_wrote():
    # scores 1, 0, 0, 0 with ddof 1: 1.5 and three times -0.5
    batch = assign(group("t", 1, 0, 0, 0), "p", GRPO)
    assert batch.credits == {("t/0", "agent"): 1.5} | {(f"t/{i}", "agent"): -0.5 for i in (1, 2, 3)}
    first = batch.rows[0]
    assert first.tokens.tolist() == [1, 2, 3, 4, 5] and first.mask.tolist() == [False, False, True, True, True]
    assert first.credit.tolist() == [0, 0, 1.5, 1.5, 1.5] and first.credit.dtype == np.float32
    assert first.sampler_logprobs.tolist() == [0, 0, -0.25, -0.5, -0.75] and first.num_targets == 3
    assert first.known.tolist() == first.mask.tolist() and first.versions == (0,)
    assert (first.group, first.trace) == (("t", "agent"), ("t", 0, "agent"))


values = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=2, max_size=5)


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_groups_come_from_task_and_seat_never_from_the_place_in_a_list(groups, rng):
    episodes = [
        episode(f"t{g}", i, trace(f"t{g}", i, v, "a"), trace(f"t{g}", i, 1 - v, "b"))
        for g, scores in enumerate(groups)
        for i, v in enumerate(scores)
    ]
    shuffled = list(episodes)
    rng.shuffle(shuffled)
    plain, other = assign(episodes, "p", GRPO), assign(shuffled, "p", GRPO)
    assert plain.credits == other.credits  # to the last bit
    assert plain.num_dead_groups == other.num_dead_groups and plain.num_groups == 2 * len(groups)
    told = [sorted((r.trace, r.credit.tolist()) for r in b.rows) for b in (plain, other)]
    assert told[0] == told[1]


def test_seats_and_policies_are_never_compared_with_each_other():
    episodes = [
        episode("t", i, trace("t", i, v, "a"), trace("t", i, 5.0, "b"), trace("t", i, v, "c", policy="other"))
        for i, v in enumerate([1.0, 0.0])
    ]
    assert [g.key for g in form_groups(episodes, "p")] == [("t", "a"), ("t", "b")]
    batch = assign(episodes, "p", GRPO)
    assert {key for key, weight in batch.credits.items() if weight} == {("t/0", "a"), ("t/1", "a")}
    assert batch.num_traces == 4 and batch.num_dead_groups == 1


@pytest.mark.parametrize("outcome", [Outcome.INFRASTRUCTURE_FAILED, Outcome.VERIFIER_FAILED])
def test_broken_traces_are_left_out_and_counted_and_change_nobody_elses_credit(outcome):
    whole = assign(group("t", 1, 0, 0), "p", GRPO)
    broken = trace("t", 3, 0.0, outcome=outcome, fault=Fault("OSError", "gone"))
    batch = assign([*group("t", 1, 0, 0), episode("t", 3, broken)], "p", GRPO)
    assert batch.credits == whole.credits and len(batch.rows) == 3
    assert (batch.num_traces, batch.num_faults) == (4, 1)


def test_an_agents_own_failure_stays_in_its_group():
    failed = trace("t", 1, 0.0, outcome=Outcome.AGENT_FAILED)
    batch = assign([*group("t", 1), episode("t", 1, failed)], "p", GRPO)
    assert len(batch.credits) == 2 and batch.num_faults == 0


def test_a_group_that_faults_left_alone_has_no_signal_and_stops_nothing():
    lost = trace("t", 1, None, outcome=Outcome.INFRASTRUCTURE_FAILED, fault=Fault("OSError", "gone"))
    batch = assign([*group("t", 1), episode("t", 1, lost), *group("u", 1, 0)], "p", GRPO)
    assert batch.credits["t/0", "agent"] == 0 and batch.credits["u/0", "agent"] > 0
    assert (batch.num_groups, batch.num_dead_groups, batch.num_faults, len(batch.rows)) == (2, 1, 1, 2)
    # a method that needs no group still learns from the one that is left
    assert len(assign([*group("t", 1), episode("t", 1, lost)], "p", imitate).rows) == 1


def test_a_group_of_one_by_plan_is_refused():
    with pytest.raises(BadInput, match="group of 1 has no baseline"):
        assign(group("t", 1), "p", GRPO)


def test_dead_groups_are_left_out_and_counted():
    # 0.1 three times: the mean is not 0.1 in floats, and the group is dead all the same
    batch = assign([*group("a", 0.1, 0.1, 0.1), *group("b", 1, 1), *group("c", 0, 1)], "p", Standardized(1, 1e-8))
    assert (batch.num_groups, batch.num_dead_groups) == (3, 2)
    assert {r.group for r in batch.rows} == {("c", "agent")}
    assert batch.signal_share == pytest.approx(1 / 3)
    assert assign([], "p", GRPO).signal_share == 0


def test_untrainable_and_unscored_traces_make_no_rows_and_are_counted():
    episodes = [
        *group("t", 1, 0),
        episode("t", 2, trace("t", 2, 1.0, trainable=False)),
        episode("t", 3, trace("t", 3, None)),
    ]
    batch = assign(episodes, "p", GRPO)
    assert (batch.num_untrainable, batch.num_unscored, len(batch.rows)) == (1, 1, 2)
    assert ("t/2", "agent") in batch.credits and ("t/3", "agent") not in batch.credits


def test_a_trace_of_several_contexts_makes_a_row_for_each():
    turns = (
        heard(1, 2, starts=True), spoken(3), heard(4), spoken(5, 6, version=1),
        heard(7, 8, starts=True), spoken(9, version=2),
        heard(10, starts=True),
    )  # fmt: skip
    rows = rows_of(trace("t", 0, 1, turns=turns), ("t", "agent"), -0.5)
    # the last context holds no word of the policy: no row
    assert [r.tokens.tolist() for r in rows] == [[1, 2, 3, 4, 5, 6], [7, 8, 9]]
    assert [r.credit.tolist() for r in rows] == [[0, 0, -0.5, 0, -0.5, -0.5], [0, 0, -0.5]]
    assert rows[0].sampler_logprobs.tolist() == [0, 0, -0.25, 0, -0.25, -0.5]
    assert [r.versions for r in rows] == [(0, 1), (2,)]


def test_recited_words_are_trained_on_with_no_log_probability_claimed_for_them():
    turns = (heard(1, 2, starts=True), recited(3, 4), heard(5), spoken(6))
    (row,) = rows_of(trace("t", 0, 1, turns=turns), ("t", "agent"), 1.0)
    assert row.mask.tolist() == [False, False, True, True, False, True]
    assert row.known.tolist() == [False] * 5 + [True]
    assert row.sampler_logprobs.tolist() == [0, 0, 0, 0, 0, -0.25]
    batch = assign([episode("t", 0, trace("t", 0, 0.0, turns=turns[:2]))], "p", imitate_all)
    assert not batch.rows[0].known.any() and batch.rows[0].credit.tolist() == [0, 0, 1, 1]


def test_a_first_token_that_nothing_predicts_is_no_target():
    rows = rows_of(trace("t", 0, 1, turns=(spoken(3, starts=True),)), ("t", "agent"), 1.0)
    assert rows == []
    (row,) = rows_of(trace("t", 0, 1, turns=(spoken(3, 4, starts=True),)), ("t", "agent"), 1.0)
    assert row.num_targets == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.booleans()), max_size=8), st.sampled_from([-2.0, 0.5]))
def test_credit_stands_exactly_where_the_mask_is(shape, weight):
    rng = random.Random(0)
    turns = tuple(
        (spoken if own else heard)(*(rng.randrange(99) for _ in range(num)), starts=starts)
        for own, num, starts in shape
    )
    whole = trace("t", 0, 1, turns=turns)
    rows = rows_of(whole, ("t", "agent"), weight)
    for row in rows:
        assert (row.credit[row.mask] == weight).all() and not row.credit[~row.mask].any()
        assert row.num_targets > 0
        assert len(row.tokens) == len(row.mask) == len(row.credit) == len(row.known) == len(row.sampler_logprobs)
    written = sum(sum(t.mask) for t in turns)
    dropped = written - sum(int(r.mask.sum()) for r in rows)
    assert 0 <= dropped <= sum(t.starts_context for t in turns) + 1  # only first tokens of a context are no targets


def test_a_baseline_of_the_batch_sees_every_group():
    # REINFORCE++ on scores 1, 0 and 1, 1: mean 3/4, population deviation sqrt(3) / 4
    batch = assign([*group("a", 1, 0), *group("b", 1, 1)], "p", BatchWhitened(ddof=0, eps=0.0))
    high, low = 3**-0.5, -(3**0.5)
    assert list(batch.credits.values()) == pytest.approx([high, low, high, high])
    assert len(batch.rows) == 4 and batch.num_dead_groups == 0
    assert batch.rows[1].credit[-1] == pytest.approx(low)
    # with one attempt a task as well, which a group's own baseline refuses
    single = assign([*group("a", 1), *group("b", 0)], "p", BatchWhitened(ddof=0, eps=0.0))
    assert list(single.credits.values()) == pytest.approx([1, -1])


def test_a_batch_of_equal_scores_has_no_signal():
    batch = assign([*group("a", 0.1), *group("b", 0.1, 0.1)], "p", BatchWhitened(ddof=0, eps=0.0))
    assert (batch.num_groups, batch.num_dead_groups, len(batch.rows)) == (2, 2, 0)


def test_a_broken_attempt_moves_the_baseline_of_a_batch_as_if_it_had_never_been_made():
    lost = trace("b", 0, None, outcome=Outcome.INFRASTRUCTURE_FAILED, fault=Fault("OSError", "gone"))
    method = BatchWhitened(ddof=0, eps=1e-8)
    broken = assign([*group("a", 1, 0), episode("b", 0, lost)], "p", method)
    assert broken.credits == assign(group("a", 1, 0), "p", method).credits and broken.num_faults == 1


def test_a_moving_baseline_compares_each_seat_with_its_past():
    live = MovingBaseline(decay=0.5).begin()
    episodes = [episode("t", i, trace("t", i, v, "a"), trace("t", i, 10 * v, "b")) for i, v in enumerate([1.0, 3.0])]
    assign(episodes, "p", live)
    assert live.baselines == {"a": 1.0, "b": 10.0}
    assert list(assign(episodes, "p", live).credits.values()) == [0, 2, 0, 20]


# ---------------------------------------------------------------- credit by token, rows without credit


class ByPlace:
    """Credit 0, 1, 2 ... along a trace."""

    def __call__(self, scores):
        raise AssertionError("traces are read, not scores")

    def by_trace(self, groups):
        return [[np.arange(len(t.tokens), dtype=float) * t.score.value for t in g.traces] for g in groups]


def test_credit_by_token_follows_its_token_through_turns_and_contexts():
    turns = (heard(1, 2, starts=True), spoken(3, 4), heard(5), spoken(6), heard(7, 8, starts=True), spoken(9, 10))
    batch = assign([episode("t", 0, trace("t", 0, 2.0, turns=turns))], "p", ByPlace())
    assert [r.tokens.tolist() for r in batch.rows] == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10]]
    assert [r.credit.tolist() for r in batch.rows] == [[0, 0, 4, 6, 0, 10], [0, 0, 16, 18]]
    assert batch.credits == {("t/0", "agent"): pytest.approx((4 + 6 + 10 + 16 + 18) / 5)}
    assert batch.num_dead_groups == 0


def test_arrays_of_zeros_are_no_signal():
    batch = assign(group("t", 0, 0), "p", ByPlace())
    assert batch.rows == () and batch.num_dead_groups == 1


def test_steps_that_were_scored_give_tokens_their_own_credit():
    turns = (heard(1, 2, starts=True), spoken(3, 4, 5))
    good = Score(1.0, spans=(Span(1, 0, 1, 1.0), Span(1, 1, 3, 0.0)))
    bad = Score(0.0, spans=(Span(1, 0, 1, 0.0), Span(1, 1, 3, 0.0)))
    pair = [
        episode("t", i, replace(trace("t", i, 0.0, turns=turns), score=score)) for i, score in enumerate((good, bad))
    ]
    first, second = assign(pair, "p", StepWise(ddof=0, eps=0.0)).rows
    # values 1, 0, 0, 0: mean 1/4, deviation sqrt(3)/4, so 3 / sqrt(3) and -1 / sqrt(3); each token has what is to come
    a, b = 3 / 3**0.5, -1 / 3**0.5
    assert first.credit.tolist() == pytest.approx([0, 0, a + b, b, b])
    assert second.credit.tolist() == pytest.approx([0, 0, 2 * b, b, b])


def test_rows_without_credit_are_kept_where_a_loss_has_something_to_tell_them():
    episodes = [*group("a", 1, 1), *group("b", 1, 0), episode("c", 0, trace("c", 0, 1.0, turns=()))]
    plain, all_rows = (assign(episodes, "p", imitate_none, keeps_all=k) for k in (False, True))
    assert plain.rows == () and len(all_rows.rows) == 4
    assert plain.num_dead_groups == all_rows.num_dead_groups == 3
    assert not any(r.credit.any() for r in all_rows.rows)


def imitate_none(scores):
    return [0.0] * len(scores)
