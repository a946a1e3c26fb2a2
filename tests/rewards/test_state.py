import json
from dataclasses import replace

import pytest

from evolvent.envs.databases import Column, Database, Table, name_world
from evolvent.errors import VerifierError
from evolvent.records import Episode, Origin, Outcome, Private, Reference, Task, Trace, said
from evolvent.rewards import by_task, judge_episodes
from evolvent.rewards.state import check

ROWS = ((1, "new"), (2, "paid"))


def shop():
    return Database("shop", (Table("parcels", (Column("id", "integer"), Column("state")), ROWS),), ())


def task(answer, left):
    data = {"state": left, **name_world(Reference("tests.rewards.test_state:shop"))}
    judge = Reference("evolvent.rewards.state:check")
    return Task("t", "f", 1, (said("user", "?"),), Private(answer, data), judge, Origin("hand"))


def changed(**changes):
    return {"state": "left", "changes": changes, "num_calls": 1}


PAID = changed(parcels={"gone": [[1, "new"]], "new": [[1, "paid"]]})
DIGEST = "left"


def value(wanted, left, answer, evidence=PAID):
    return check(task(wanted, left), answer, evidence).value


def test_check_must_both_be_right_and_both_are_kept():
    for answer, state, wanted in (("3", "left", 1), ("4", "left", 0), ("3", "other", 0), ("", "left", 0)):
        score = check(task("3", DIGEST), answer, {"state": state, "changes": {}})
        assert score.value == wanted, (answer, state)
        assert score.components == {"answer": float(answer == "3"), "state": float(state == "left")}


def test_the_right_answer_over_the_wrong_rows_says_what_was_changed():
    score = check(task("3", "before"), "3", PAID)
    assert score.value == 0 and "changed: parcels" in score.why


@pytest.mark.parametrize(
    ("wanted", "answer", "is_right"),
    [
        ("oslo", "The answer is Oslo.", 1),
        ("oslo", "oslo and rome", 0),
        ("12.5", "12.5", 1),
        ("12.5", "12.4", 0),
        ('["b1", "b2"]', "b2, b1", 1),
        ('["b1", "b2"]', "b1, b2, b3", 0),
        ('{"city": "oslo", "num": 2}', "city: oslo\nnum: 2", 1),
        ('{"city": "oslo", "num": 2}', '{"city": "oslo"}', 0),
        ('{"city": "oslo"}', '{"city": "oslo", "town": "rome"}', 0),
        ("true", "yes", 1),
        ("done", "done", 1),
    ],
)
def test_answers_are_compared_as_what_they_are(wanted, answer, is_right):
    assert value(wanted, DIGEST, answer) == is_right


@pytest.mark.parametrize(
    ("assertion", "holds"),
    [
        ({"table": "parcels", "side": "new", "row": {"id": 1, "state": "paid"}}, 1),
        ({"table": "parcels", "side": "gone", "row": {"id": 1}}, 1),
        ({"table": "parcels", "side": "new", "row": {"state": "paid"}, "num": 2}, 0),
        ({"table": "parcels", "side": "new", "row": {"id": 2}}, 0),
        ({"table": "parcels", "side": "new", "row": {"id": 2}, "num": 0}, 1),
    ],
)
def test_assertions_count_the_rows_that_are_new_or_gone(assertion, holds):
    assert value("3", {"assertions": [assertion]}, "3") == holds


def test_a_table_that_no_assertion_names_must_stay_as_it_was_where_that_is_said():
    left = {"assertions": [{"table": "parcels", "side": "new"}], "only": True}
    more = {"state": "x", "changes": {**PAID["changes"], "notes": {"gone": [], "new": [[1]]}}}
    assert value("3", left, "3") == 1 and value("3", left, "3", more) == 0
    assert value("3", {**left, "only": False}, "3", more) == 1


def test_what_cannot_be_judged_is_a_fault_and_not_a_zero():
    for left, evidence in ((None, PAID), ({}, PAID), (DIGEST, None), (DIGEST, {"num_calls": 1})):
        with pytest.raises(VerifierError):
            value("3", left, "3", evidence)
    with pytest.raises(VerifierError, match="names no column"):
        value("3", {"assertions": [{"table": "parcels", "side": "new", "row": {"nope": 1}}]}, "3")


def test_judges_read_the_evidence_of_an_episode():
    one = task("3", DIGEST)
    played = Episode("e", one, 0, (Trace("t", 0, "agent", "p", ()),), "3", json.loads(json.dumps(PAID)))
    assert [s.value for s in by_task([played, replace(played, info={"state": "other", "changes": {}})])] == [1, 0]
    (broken,) = judge_episodes(by_task, [replace(played, info={})])
    assert broken.outcome is Outcome.VERIFIER_FAILED
