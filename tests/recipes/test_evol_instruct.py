import random

import pytest

from evolvent.errors import BadInput
from evolvent.evals.measure import Suite, hold_out
from evolvent.recipes.evol_instruct import EVOLVED, FAMILIES, LEVELS, SEEDS, UNSCREENED, Evolved, Faulty
from evolvent.records import Private
from evolvent.synthesis.evolve_programs import answer_fails
from evolvent.tasks.word_programs import program_of

SOURCE = Evolved(64, broken_frac=0.25)


def cells(family, split="train", num=64, source=SOURCE):
    return [source.task(family, level, i, split) for level in source.levels(family) for i in range(num)]


def num_wrong(tasks):
    return sum(bool(answer_fails(task, task)) for task in tasks)


def test_a_task_depends_on_its_arguments_alone():
    twin = Evolved(65, broken_frac=0.25)  # another key for what is kept
    assert [twin.task(EVOLVED, 2, i) for i in (5, 3)] == [SOURCE.task(EVOLVED, 2, i) for i in (5, 3)]
    assert all((t.family, t.level) == (EVOLVED, level) for level in LEVELS for t in [SOURCE.task(EVOLVED, level, 7)])
    with pytest.raises(BadInput, match="no such cell"):
        SOURCE.task(SEEDS, 1, 0)


def test_there_are_as_many_seeds_to_train_on_as_evolved_tasks():
    sizes = {f: sum(SOURCE.num_tasks(f, level, "train") for level in SOURCE.levels(f)) for f in FAMILIES}
    assert set(sizes.values()) == {128}


def test_splits_share_no_question():
    training = {task.question for family in FAMILIES for task in cells(family)}
    assert not training & {task.question for family in (SEEDS, EVOLVED) for task in cells(family, "test")}


def test_elimination_leaves_no_wrong_answer_and_without_it_many_stay():
    assert num_wrong(cells(SEEDS)) == num_wrong(cells(EVOLVED)) == 0
    assert 20 < num_wrong(cells(UNSCREENED)) < 64  # about a quarter of 128


def test_held_out_tasks_are_screened_and_the_same_whatever_is_trained_on():
    held_out = hold_out(Suite(16, 16), SOURCE)
    assert {cell: len(tasks) for cell, tasks in held_out.items()} == {
        (SEEDS, 0): 16,
        (EVOLVED, 1): 16,
        (EVOLVED, 2): 16,
        (UNSCREENED, 1): 0,
        (UNSCREENED, 2): 0,
    }
    assert held_out == hold_out(Suite(16, 16), Evolved(64))
    assert num_wrong(task for tasks in held_out.values() for task in tasks) == 0


def test_later_levels_take_more_steps():
    one, two = ([len(program_of(SOURCE.task(EVOLVED, level, i)).steps) for i in range(64)] for level in LEVELS)
    assert {len(program_of(task).steps) for task in cells(SEEDS)} == {1}
    assert 64 < sum(one) < sum(two)


def test_a_faulty_operator_breaks_the_answer_and_not_the_program():
    seed = SOURCE.task(SEEDS, 0, 0)
    children = [Faulty("breadth", 1.0)(seed, random.Random(i)) for i in range(30)]
    assert all(answer_fails(child, seed) for child in children if child.private.answer != seed.private.answer)
    assert "" in {child.private.answer for child in children}
    assert all(isinstance(child.private, Private) and program_of(child).results()[-1] for child in children)
