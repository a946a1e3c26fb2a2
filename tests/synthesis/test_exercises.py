import pytest

from evolvent.records import said
from evolvent.rollouts.selfplay import UNREADABLE
from evolvent.synthesis.exercises import DrawnExercises, Exercises

SEED = DrawnExercises().task("exercise", 2, 0)


@pytest.mark.parametrize(
    ("words", "answer", "form"), [("47*83", "3901", "2*2"), ("5-12", "-7", "1-2"), ("0+0", "0", "1+1")]
)
def test_what_reads_as_an_exercise_is_one(words, answer, form):
    proposal = Exercises().read(SEED, words)
    assert (proposal.fault, proposal.problem, proposal.reference, proposal.form) == ("", words, answer, form)
    assert proposal.task.question == f"{words}=?"
    assert proposal.task.origin.parents == (SEED.task_id,)
    assert proposal.task.judge.load()(proposal.task, answer).value == 1.0


@pytest.mark.parametrize("words", ["", "47", "47*", "4.5*2", "1+2+3", "01+2", "1234+5", "47 * 83", "-4+5", "47*83=?"])
def test_what_does_not_is_refused(words):
    assert Exercises().read(SEED, words).fault == UNREADABLE
    assert Exercises().read(SEED, words).task is None


def test_a_cold_start_shows_the_seed_and_asks_the_same_of_all():
    other = DrawnExercises().task("exercise", 1, 1)
    assert Exercises().ask(SEED) == Exercises().ask(other) == (said("user", Exercises().prompt),)
    shown = Exercises().read(SEED, Exercises().show(SEED))
    assert (shown.task.question, shown.reference) == (SEED.question, SEED.private.answer)


def test_the_splits_of_drawn_exercises_share_no_question():
    source = DrawnExercises()
    asked = {s: {source.task("exercise", 1, i, s).question for i in range(300)} for s in ("train", "test")}
    assert not asked["train"] & asked["test"]
    assert source.levels("exercise") == (1, 2)
    assert source.task("exercise", 2, 3) == source.task("exercise", 2, 3)
