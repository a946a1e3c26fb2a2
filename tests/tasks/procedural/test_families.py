import random

import pytest

from evolvent.errors import BadInput
from evolvent.tasks import Procedural, Source
from evolvent.tasks.procedural import family_names, split_of

CELLS = [(family, level) for family in family_names() for level in Procedural((family,)).levels(family)]
NUM_TASKS = 50


def corrupted(answer: str) -> str:
    """Another answer of the same shape."""
    last = answer[-1]
    if last.isdigit():
        return answer[:-1] + str((int(last) + 1) % 10)
    if last in "zZ":
        return answer[:-1] + chr(ord(last) - 25)
    # a constant alone would be no mistake in an antiderivative
    return answer[:-1] + chr(ord(last) + 1) if last.isalpha() else answer + "+1x"


def test_there_are_at_least_eleven_families():
    assert len(family_names()) >= 11
    assert "draft" not in family_names()
    assert "polynomials" not in family_names()


def test_the_families_are_a_source():
    assert isinstance(Procedural(("arithmetic",)), Source)


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_the_check_accepts_the_answer_and_the_solution_and_refuses_a_corrupted_answer(family, level):
    source = Procedural((family,), seed=3)
    for index in range(NUM_TASKS):
        task = source.task(family, level, index, "train" if index % 2 else "test")
        check = task.judge.load()
        assert check(task, task.private.answer).value == 1.0, task
        assert check(task, task.private.solution[-1].text.strip()).value == 1.0, task
        assert check(task, corrupted(task.private.answer)).value == 0.0, task
        assert check(task, "").value == 0.0
        assert all(message.role == "assistant" for message in task.private.solution)
        assert all(message.calls for message in task.private.solution[:-1])


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_a_task_is_the_same_drawn_alone_or_after_others(family, level):
    others = Procedural(family_names(), seed=5)
    after = [others.task(family, level, index) for index in (7, 3, 0, 4)]
    alone = [Procedural((family,), seed=5).task(family, level, index) for index in (7, 3, 0, 4)]
    assert after == alone


@pytest.mark.parametrize("family", family_names())
def test_training_and_test_problems_are_disjoint_whatever_the_seeds(family):
    level = Procedural((family,)).levels(family)[0]
    train = {Procedural((family,), seed).task(family, level, i).question for seed in (0, 1) for i in range(60)}
    test = {Procedural((family,), seed).task(family, level, i, "test").question for seed in (0, 2) for i in range(60)}
    assert not train & test


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_prompts_are_short_and_tasks_differ(family, level):
    tasks = [Procedural((family,)).task(family, level, index) for index in range(30)]
    assert len({task.question for task in tasks}) > 15
    assert len({task.task_id for task in tasks}) == 30
    assert max(len(task.question.encode()) for task in tasks) <= 100


def test_another_seed_gives_other_tasks():
    one, two = (
        [Procedural(("arithmetic",), seed).task("arithmetic", 4, i).question for i in range(9)] for seed in (0, 1)
    )
    assert not set(one) & set(two)


def test_about_one_problem_in_eight_is_for_testing():
    splits = [split_of("x", str(number)) for number in range(4000)]
    assert 400 < splits.count("test") < 600


def test_an_unknown_family_names_its_neighbours():
    with pytest.raises(BadInput, match="countdown"):
        Procedural(("countdwon",))


def test_a_level_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match="wanted: 1 to 6"):
        Procedural(("arithmetic",), only_levels=(9,))
    with pytest.raises(BadInput, match="no level 9"):
        Procedural(("arithmetic",)).task("arithmetic", 9, 0)
    with pytest.raises(BadInput, match="no level 2"):
        Procedural(("arithmetic",), only_levels=(1,)).task("arithmetic", 2, 0)


def test_a_cell_without_problems_of_a_split_is_exhausted():
    from evolvent.tasks.procedural import draw_of_split
    from evolvent.tasks.procedural.draft import Draft

    questions = [str(number) for number in range(20) if split_of("tiny", str(number)) == "train"]
    rng = random.Random(0)
    assert draw_of_split(lambda: Draft(rng.choice(questions), "0"), "tiny", 1, "train").question in questions
    with pytest.raises(BadInput, match="exhausted"):
        draw_of_split(lambda: Draft(rng.choice(questions), "0"), "tiny", 1, "test")
