from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.records import Episode, Origin, Outcome, Private, Reference, Score, Task, Trace, said
from evolvent.rewards import Shuffled, by_task, judge_episodes, shuffled, training_scores
from evolvent.seeds import stream

ROLES = (("setter", 100.0), ("solver/1", 200.0), ("solver/2", 300.0))


def batch(num: int) -> list[Episode]:
    made = []
    for i in range(num):
        judge = Reference("evolvent.rewards:exact")
        task = Task(f"t{i}", "f", 1, (said("user", "?"),), Private(str(i % 2)), judge, Origin("hand"))
        made.append(Episode(f"e{i}", task, 0, (Trace(f"t{i}", 0, "agent", "p", ()),), "1"))
    return made


def values(episodes: list[Episode]) -> list[float | None]:
    return [e.traces[0].score.value if e.traces[0].score else None for e in episodes]


def test_the_judgement_itself_is_the_truth() -> None:
    assert shuffled(batch(6)) == by_task(batch(6))


def test_training_sees_the_same_scores_in_another_order() -> None:
    judged = judge_episodes(shuffled, batch(40))
    told = training_scores(shuffled, judged, stream(0, "shuffled", 1))
    assert values(told) != values(judged)
    assert sorted(values(told), key=str) == sorted(values(judged), key=str)
    assert [e.episode_id for e in told] == [e.episode_id for e in judged]
    assert told == training_scores(shuffled, judged, stream(0, "shuffled", 1))


def test_another_judge_trains_on_the_truth() -> None:
    judged = judge_episodes(by_task, batch(6))
    assert training_scores(by_task, judged, stream(0, "shuffled")) == judged


def test_an_episode_without_a_score_takes_no_part() -> None:
    judged = judge_episodes(shuffled, batch(9))
    stopped = replace(judged[4].traces[0], outcome=Outcome.VERIFIER_FAILED, score=None)
    judged[4] = replace(judged[4], traces=(stopped,))
    assert training_scores(shuffled, judged, stream(0, "x"))[4] == judged[4]


def test_each_role_gets_the_scores_of_its_role() -> None:
    judged = [
        replace(
            e, traces=tuple(Trace(e.task.task_id, 0, seat, "p", (), score=Score(value + i)) for seat, value in ROLES)
        )
        for i, e in enumerate(batch(12))
    ]
    told = training_scores(shuffled, judged, stream(0, "roles"))
    for j, (seat, value) in enumerate(ROLES):
        given = [e.traces[j].score.value for e in told if e.traces[j].score]
        assert seat.startswith("solver") or all(value <= v < value + 12 for v in given)
    setters = [e.traces[0].score.value for e in told if e.traces[0].score]
    assert sorted(setters) == [100.0 + i for i in range(12)] != setters
    solvers = [t.score.value for e in told for t in e.traces[1:] if t.score]
    assert sorted(solvers) == sorted(value + i for i in range(12) for _, value in ROLES[1:]) != solvers


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=20), st.integers(0, 99))
def test_a_permutation_keeps_every_score(scores: list[float], seed: int) -> None:
    assert sorted(shuffled.for_training(scores, stream(seed, "x"))) == sorted(scores)


def test_shuffled_is_data() -> None:
    assert from_json(to_json(shuffled)) == shuffled == Shuffled(by_task)
