from __future__ import annotations

from collections.abc import Sequence

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.records import Episode, Origin, Private, Reference, Score, Span, Task, Trace, said
from evolvent.rewards import Mix, by_task, exact, judge_episodes


def episode(answer: str) -> Episode:
    task = Task("t", "f", 1, (said("user", "?"),), Private("4"), Reference("evolvent.rewards:exact"), Origin("hand"))
    return Episode("e", task, 0, (Trace("t", 0, "agent", "p", ()),), answer)


def length(task: Task, answer: str) -> Score:
    return Score(len(answer) / 10, why=f"{len(answer)} characters", spans=(Span(0, 0, 1, 2.0),))


def no_shouting(task: Task, answer: str) -> Score:
    return Score(0.0 if "!" in answer else 1.0, why="an exclamation mark" if "!" in answer else "")


def ranks(episodes: Sequence[Episode]) -> list[Score]:
    return [Score(0.5) for _ in episodes]


both = Mix((("right", 0.8, by_task), ("long", 0.2, length)), (no_shouting,))


def test_a_mix_is_the_gate_times_the_weighted_sum_and_keeps_the_parts() -> None:
    (score,) = both([episode("4")])
    assert score.value == pytest.approx(0.8 * 1.0 + 0.2 * 0.1)
    assert score.components == {"right": 1.0, "right.exact": 1.0, "long": 0.1, "gate 1": 1.0}
    assert score.spans == (Span(0, 0, 1, pytest.approx(0.4)),)
    assert "long: 1 characters" in score.why


def test_a_shut_gate_leaves_nothing_and_says_so() -> None:
    (score,) = both([episode("four!")])
    assert score.value == 0.0
    assert score.components["long"] == 0.5
    assert score.why.startswith("gate 1: an exclamation mark")


def test_a_mix_judges_alone_where_all_its_parts_do() -> None:
    assert both.judges_alone
    assert not Mix((("rank", 1.0, ranks), ("right", 1.0, exact))).judges_alone


def test_a_mix_is_data_and_fills_a_reward_slot() -> None:
    assert from_json(to_json(both)) == both
    (judged,) = judge_episodes(both, [episode("4")])
    assert judged.traces[0].score == both([episode("4")])[0]


def test_a_mix_without_names_or_with_an_infinite_weight_is_refused() -> None:
    for parts in ((), (("a", 1.0, exact), ("a", 1.0, exact)), (("a", float("inf"), exact),)):
        with pytest.raises(BadInput):
            Mix(parts)
