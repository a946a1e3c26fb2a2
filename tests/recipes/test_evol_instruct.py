import random
from dataclasses import replace

from evolvent.recipes.evol_instruct import FAMILY, NUM_LEVELS, Evolved, Faulty
from evolvent.records import Private
from evolvent.synthesis.evolve_programs import answer_fails
from evolvent.tasks.word_programs import program_of

CLEAN, FAULTY = Evolved(64, broken_frac=0.25), Evolved(64, broken_frac=0.25, rules=())


def cells(source, split="train", num=64):
    return [source.task(FAMILY, level, i, split) for level in range(NUM_LEVELS) for i in range(num)]


def num_wrong(tasks):
    return sum(bool(answer_fails(task, task)) for task in tasks)


def test_a_task_depends_on_its_arguments_alone():
    twin = replace(CLEAN, num_each=65)  # another key for what is kept
    assert [twin.task(FAMILY, 2, i) for i in (5, 3)] == [CLEAN.task(FAMILY, 2, i) for i in (5, 3)]
    assert all(task.level == level for level in range(NUM_LEVELS) for task in [CLEAN.task(FAMILY, level, 7)])


def test_splits_share_no_question():
    assert not {t.question for t in cells(FAULTY)} & {t.question for t in cells(CLEAN, "test")}


def test_elimination_leaves_no_wrong_answer_and_without_it_many_stay():
    assert num_wrong(cells(CLEAN)) == 0
    assert 20 < num_wrong(cells(FAULTY)) < 64  # a quarter of the 128 that were evolved, the seeds are right


def test_held_out_tasks_are_the_same_and_right_whatever_is_trained_on():
    assert cells(FAULTY, "test", 16) == cells(CLEAN, "test", 16)
    assert num_wrong(cells(FAULTY, "test", 16)) == 0


def test_later_levels_take_more_steps():
    depth = [sum(len(program_of(CLEAN.task(FAMILY, level, i)).steps) for i in range(64)) for level in range(NUM_LEVELS)]
    assert depth == sorted(depth) and depth[0] == 64


def test_a_faulty_operator_breaks_the_answer_and_not_the_program():
    seed = CLEAN.task(FAMILY, 0, 0)
    children = [Faulty("breadth", 1.0)(seed, random.Random(i)) for i in range(30)]
    assert all(answer_fails(child, seed) for child in children if child.private.answer != seed.private.answer)
    assert "" in {child.private.answer for child in children}
    assert all(isinstance(child.private, Private) and program_of(child).results()[-1] for child in children)
