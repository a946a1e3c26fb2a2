import pytest

from evolvent.curriculum.refill import Refill
from evolvent.errors import BadInput
from evolvent.records import Episode, Message, Origin, Reference, Score, Task, Text, Trace, Turn, said


def episodes(name, *scores, policy="agent"):
    """Attempts at one task, three tokens each; a score of None is an attempt that nobody could judge."""
    task = Task(name, "f", 1, (said("user", name),), None, Reference("a:b"), Origin("made"))
    spoken = Turn("1", "0", "agent", 1, Message("assistant", (Text("a"),)), (1, 2, 3), (True,) * 3)
    return [
        Episode(
            f"{name}/{i}", task, i,
            (Trace(name, i, "agent", policy, (spoken,), score=None if s is None else Score(s)),),
        )
        for i, s in enumerate(scores)
    ]  # fmt: skip


MIXED, RIGHT, WRONG = episodes("mixed", 1, 0), episodes("right", 1, 1), episodes("wrong", 0, 0)
SHORT = episodes("short", 1, 0, None)


def test_a_task_is_admitted_where_its_attempts_differ_and_all_were_judged():
    drawn = [*MIXED, *RIGHT, *WRONG]
    assert Refill().admitted(drawn, ["agent"], 2) == {"mixed"}
    assert Refill().keep(drawn, ["agent"], 2) == MIXED
    assert Refill().admitted(SHORT, ["agent"], 3) == set() and Refill().admitted(SHORT, ["agent"], 2) == {"short"}
    assert Refill().admitted(drawn, ["another"], 2) == set()
    assert Refill(least_spread=1.0).admitted(drawn, ["agent"], 2) == set()


def test_one_policy_with_something_to_learn_is_enough():
    pair = [*episodes("a", 1, 1), *episodes("a", 0, 1, policy="other")]
    assert Refill().admitted(pair, ["agent", "other"], 2) == {"a"}


def test_what_was_refused_is_counted_with_its_tokens():
    told = Refill().describe([*MIXED, *RIGHT, *WRONG], ["agent"], 2)
    assert told == {"num_drawn": 3, "refused_groups": 2, "admitted_share": pytest.approx(1 / 3), "refused_tokens": 12}
    assert Refill().describe([], ["agent"], 2)["admitted_share"] == 0


@pytest.mark.parametrize("given", [{"max_draws": 0}, {"least_spread": -1.0}])
def test_a_refill_that_cannot_be_is_refused(given):
    with pytest.raises(BadInput, match="refill"):
        Refill(**given)
