import re

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs import calc
from evolvent.envs.interpreter import Interpreter, execute
from evolvent.errors import BadInput
from evolvent.evals.measure import Suite, hold_out
from evolvent.tasks import Source
from evolvent.tasks.tallies import Tallies


@pytest.mark.parametrize("level", [1, 2, 4])
def test_the_answer_is_what_python_says_to_the_question(level):
    for index in range(20):
        task = Tallies().task("tallies", level, index)
        assert re.fullmatch(r"[a-z]=\d\d(;[a-z]=[a-z][+-][2-9])+;[a-z]\?", task.question)
        assert task.question.count(";") == level + 1
        assert execute(task.question.rstrip("?"), Interpreter()).value == task.private.answer
        *calls, last = task.private.solution
        assert len(calls) == level
        assert calc(**calls[-1].calls[0].arguments) == task.private.answer == last.text


def test_a_task_is_a_function_of_its_place_and_the_splits_are_disjoint():
    source = Tallies()
    assert isinstance(source, Source)
    assert from_json(to_json(source)) == source
    assert source.task("tallies", 2, 7) == Tallies().task("tallies", 2, 7) != source.task("tallies", 2, 8)
    train = {source.task("tallies", 1, i).question for i in range(500)}
    held_out = hold_out(Suite(num_tasks=256, num_tasks_above=256, num_levels=2), source)
    assert [len(tasks) for tasks in held_out.values()] == [256, 256]
    assert not train & {task.question for tasks in held_out.values() for task in tasks}


@pytest.mark.parametrize("odd", [{"num_lines": 0}, {"num_lines": 26}, {"most": 1}])
def test_totals_that_cannot_be_are_refused(odd):
    with pytest.raises(BadInput, match="no such totals"):
        Tallies(**odd)
