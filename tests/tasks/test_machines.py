"""Machines: one start only ends where it should, splits are apart, and nothing depends on the order of asking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.seeds import stream
from evolvent.tasks.machines import HONEST, Machines, any_run, check, run, runs_of


@given(st.integers(0, 500), st.sampled_from(["train", "test"]), st.integers(2, 6), st.integers(1, 5))
def test_one_start_alone_ends_at_the_given_digit(index, split, num_starts, num_steps):
    task = Machines(num_starts, num_steps).task("machines", 1, index, split)
    starts, program, goal = task.question.rstrip("?").split()
    right = [start for start in starts if run(start, program)[-1] == goal]
    assert len(starts) == num_starts
    assert [run(start, program) + "+" for start in right] == [task.private.answer]
    assert {one[:-1] for one in runs_of(task)} == {run(start, program) for start in starts}
    assert [one[-1] for one in runs_of(task)] == ["+", *"-" * (num_starts - 1)]
    assert check(task, task.private.answer).value == 1


def test_a_run_goes_letter_by_letter():
    assert run("4", "ab")[:3] == run("4", "a")
    assert run(run("4", "ab")[2], "b") == run("4", "ab")[2:]
    assert run("4", "ab")[1::2] == "ab"


def test_the_machines_are_the_same_under_every_seed_and_the_tasks_are_not():
    one, two = (Machines(seed=s).task("machines", 1, 3) for s in (0, 1))
    assert one.question != two.question
    for task in (one, two):
        starts, program, _ = task.question.split()
        assert runs_of(task)[0][:-1] in {run(start, program) for start in starts}


def test_splits_share_no_question():
    train, test = ({Machines().task("machines", 1, i, s).question for i in range(300)} for s in ("train", "test"))
    assert not train & test


def test_any_run_is_any_of_them():
    task = Machines().task("machines", 1, 0)
    drawn = [any_run(task, stream(0, "test", i)) for i in range(60)]
    assert set(drawn) == set(runs_of(task))


@pytest.mark.parametrize(
    "odd", [{"num_starts": 1}, {"num_starts": 7}, {"num_digits": 11}, {"num_steps": 0}, {"num_rules": 27}]
)
def test_odd_machines_are_refused(odd):
    with pytest.raises(BadInput, match="no such machines"):
        Machines(**odd)


def test_a_run_that_admits_to_have_missed_is_worth_more_than_a_false_claim():
    task = Machines().task("machines", 1, 0)
    missed = runs_of(task)[1]
    assert [check(task, words).value for words in (missed, missed[:-1] + "+", task.private.answer[:-1] + "-", "")] == [
        HONEST, 0, 0, 0,
    ]  # fmt: skip
    assert task.judge.load()(task, missed).value == HONEST
