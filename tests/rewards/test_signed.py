from __future__ import annotations

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.records import Episode, Message, Origin, Private, Reference, Score, Task, ToolCall, Trace, Turn, said
from evolvent.rewards import judge_episodes
from evolvent.rewards.signed import Signed, less_for_trying, minus_one, num_turns


def episode(answer: str, num_calls: int = 0) -> Episode:
    task = Task("t", "f", 1, (said("user", "?"),), Private("7"), Reference("evolvent.rewards:exact"), Origin("hand"))
    call = Message("assistant", (ToolCall("python", {"code": "3+4"}),))
    spoken = [said("user", "?"), *[call, said("tool", "7")] * num_calls, said("assistant", answer)]
    turns = tuple(Turn(f"t{i}", None, "agent", i, message) for i, message in enumerate(spoken))
    return Episode("e", task, 0, (Trace("t", 0, "agent", "p", turns),), answer)


# -1 + 0.1 * (6 - 2) / 2 = -0.8; at 10 turns -0.6; at 20 it would be -0.1, and the bound holds it
@pytest.mark.parametrize(("turns", "value"), [(2, -1.0), (6, -0.8), (10, -0.6), (20, -0.6), (2000, -0.6)])
def test_what_a_wrong_answer_costs_after_so_many_turns(turns: int, value: float) -> None:
    assert less_for_trying(turns) == pytest.approx(value, abs=1e-12)
    assert minus_one(turns) == -1.0


# the turns of an attempt: the question and an answer, and two more for each round of calls
@pytest.mark.parametrize(("num_calls", "turns", "wrong"), [(0, 2, -1.0), (2, 6, -0.8), (4, 10, -0.6), (9, 20, -0.6)])
def test_right_is_one_however_it_was_found_and_wrong_depends_on_the_turns(
    num_calls: int, turns: int, wrong: float
) -> None:
    right, missed = episode("7", num_calls), episode("8", num_calls)
    assert num_turns(right) == turns
    assert [s.value for s in Signed()([right, missed])] == [1.0, -1.0]
    assert [s.value for s in Signed(wrong=less_for_trying)([right, missed])] == [1.0, pytest.approx(wrong)]


def half(episodes: list[Episode]) -> list[Score]:
    return [Score(0.5, {"tests": 0.5}, "half of the tests") for _ in episodes]


def by_role(episodes: list[Episode]) -> list[dict[str, Score]]:
    return [{"agent": Score(1.0)} for _ in episodes]


def test_partial_credit_is_wrong_and_what_the_judge_said_is_kept() -> None:
    (judged,) = judge_episodes(Signed(half), [episode("7")])
    (trace,) = judged.traces
    assert trace.score == Score(-1.0, {"tests": 0.5, "unsigned": 0.5}, "half of the tests")


def test_scores_of_single_roles_have_no_common_sign() -> None:
    with pytest.raises(BadInput, match="an episode as a whole"):
        Signed(by_role)([episode("7")])


def test_a_signed_judge_is_data_and_judges_alone_where_its_judge_does() -> None:
    judge = Signed(wrong=less_for_trying)
    assert from_json(to_json(judge)) == judge
    assert judge.judges_alone
    assert not Signed(half).judges_alone
