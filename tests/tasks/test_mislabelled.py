from random import Random

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.tasks import Source
from evolvent.tasks.copies import Copies
from evolvent.tasks.mislabelled import Mislabelled, next_digit, other_digit

CLEAN = Copies()


def tasks(source, split="train", num=400):
    return [source.task("copies", 1, i, split) for i in range(num)]


def test_a_share_of_training_solutions_ends_wrong_and_no_answer_changes():
    source = Mislabelled(CLEAN, 0.6, other_digit)
    assert isinstance(source, Source)
    pairs = list(zip(tasks(source), tasks(CLEAN), strict=True))
    wrong = [a for a, b in pairs if a.private.solution != b.private.solution]
    assert 0.5 < len(wrong) / len(pairs) < 0.7
    assert all(a.private.answer == b.private.answer and a.question == b.question for a, b in pairs)
    assert not any(t.private.solution[-1].text.endswith(t.private.answer) for t in wrong)


def test_test_tasks_are_untouched_and_the_error_belongs_to_the_task():
    source = Mislabelled(CLEAN, 1.0, other_digit)
    assert tasks(source, "test", 50) == tasks(CLEAN, "test", 50)
    assert tasks(source, num=20)[7] == source.task("copies", 1, 7)
    assert from_json(to_json(source)) == source


def test_common_errors_are_all_the_same_and_others_scatter():
    rng = Random(0)
    assert [next_digit(a, rng) for a in ("140", "149", "3")] == ["141", "140", "4"]
    assert {other_digit("12", rng) for _ in range(300)} == {f"1{d}" for d in "013456789"}
    with pytest.raises(BadInput, match="last digit"):
        other_digit("no", rng)
    with pytest.raises(BadInput, match="no such share"):
        Mislabelled(CLEAN, 1.2, other_digit)
