import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.tasks import Source
from evolvent.tasks.copies import Copies
from evolvent.tasks.procedural import split_of


def drawn(source, split="train", num=200):
    return [source.task("copies", 1, index, split) for index in range(num)]


def test_a_number_is_its_own_answer():
    assert isinstance(Copies(), Source)
    for task in drawn(Copies()):
        assert task.question == f"{task.private.answer}?"
        assert len(task.private.answer) == 5 and task.private.answer[0] != "0"
        assert [message.text for message in task.private.solution] == [task.private.answer]
        assert task.judge.load()(task, task.private.answer).value == 1.0


def test_no_number_is_in_both_splits():
    assert {split_of("copies", task.question) for task in drawn(Copies(4))} == {"train"}
    assert {split_of("copies", task.question) for task in drawn(Copies(4, seed=1), "test")} == {"test"}


def test_a_seed_gives_numbers_of_its_own():
    assert drawn(Copies(seed=1))[7] == Copies(seed=1).task("copies", 1, 7)
    assert len({task.question for seed in (1, 2) for task in drawn(Copies(seed=seed))}) > 390
    assert from_json(to_json(Copies(seed=1))) == Copies(seed=1)


def test_too_short_numbers_are_refused():
    with pytest.raises(BadInput, match="too few"):
        Copies(2)
