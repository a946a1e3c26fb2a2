from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.evals.measure import Suite, hold_out
from evolvent.records import said
from evolvent.tasks import Source, lookups
from evolvent.tasks.lookups import Lookups, items_of


def task_of(question, answer):
    task = Lookups().task("lookups", 1, 0)
    return replace(task, prompt=(said("user", question),), private=replace(task.private, answer=answer))


def test_the_answer_is_the_sum_of_two_digits_by_the_modulus():
    for index in range(30):
        task = Lookups(4, 7).task("lookups", 1, index)
        wanted = [f"{name}{(first + second) % 7}" for name, first, second in items_of(task)]
        assert task.private.answer == " ".join(wanted) == task.private.solution[-1].text
        assert [part[0] for part in wanted] == list("abcd")


def test_each_item_is_tested_by_itself_and_the_words_say_what_was_said():
    task = task_of("a35 b12 c40", "a2 b3 c4")
    assert lookups.run_tests(task, "a2 b3 c4") == (1.0, "a2y b3y c4y")
    assert lookups.run_tests(task, "a2 b4 c4") == (pytest.approx(2 / 3), "a2y b4n c4y")
    assert lookups.run_tests(task, "a2 c4") == (pytest.approx(1 / 3), "a2y b?n c?n"), "an item counts in its place"
    assert lookups.run_tests(task, "") == (0.0, "a?n b?n c?n")
    assert lookups.run_tests(task, "a2 b3 c4 d5")[0] == 0.0, "what was not asked for spoils all"


@given(st.text(max_size=30))
def test_tests_say_the_same_as_the_judge_where_all_pass(answer):
    task = task_of("a35 b12 c40", "a2 b3 c4")
    share, _ = lookups.run_tests(task, answer)
    assert 0 <= share <= 1
    assert (share == 1.0) == (answer.split() == ["a2", "b3", "c4"])


def test_a_task_is_a_function_of_its_place_and_the_splits_are_disjoint():
    source = Lookups()
    assert isinstance(source, Source) and from_json(to_json(source)) == source
    assert source.task("lookups", 1, 7) == Lookups().task("lookups", 1, 7) != source.task("lookups", 1, 8)
    train = {source.task("lookups", 1, i).question for i in range(500)}
    [tasks] = hold_out(Suite(num_tasks=256, num_levels=1), source).values()
    assert len(tasks) == 256 and not train & {task.question for task in tasks}


@pytest.mark.parametrize("odd", [{"num_items": 0}, {"num_items": 27}, {"modulus": 1}, {"modulus": 11}])
def test_items_that_cannot_be_are_refused(odd):
    with pytest.raises(BadInput, match="no such items"):
        Lookups(**odd)


def test_a_question_of_another_kind_has_no_items():
    with pytest.raises(BadInput, match="no items"):
        items_of(task_of("what is 2+2?", "4"))
