import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.curriculum import Uniform
from evolvent.curriculum.draw import check_disjoint, draw_tasks
from evolvent.errors import BadInput, GateFailed
from evolvent.records import Origin, Reference, Task, said


class Shelf:
    """`num` tasks a cell, `num_questions` of them different; it counts how often it is asked."""

    families = ("shelf",)

    def __init__(self, num, num_questions=None):
        self.num, self.num_questions, self.asked = num, num_questions, 0

    def levels(self, family):
        return (1,)

    def num_tasks(self, family, level, split):
        return self.num

    def task(self, family, level, index, split="train"):
        assert index >= 0 and (self.num is None or index < self.num), index
        self.asked += 1
        name = f"{split} {index % self.num_questions if self.num_questions else index}"
        return Task(name, family, level, (said("user", name),), None, Reference("a:b"), Origin("shelf"), split)


def draw(source, num, seed=0, step=1, held_out=()):
    return draw_tasks(Uniform(1).begin(source), source, num=num, seed=seed, step=step, held_out=held_out)


def questions(tasks):
    return [t.question for t in tasks]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.none() | st.integers(1, 60), st.integers(0, 5), st.integers(1, 5))
def test_tasks_are_distinct_and_as_many_as_there_are(num, limit, seed, step):
    tasks = draw(Shelf(limit), num, seed, step)
    assert len(set(questions(tasks))) == len(tasks) == min(num, limit or num)
    assert {t.split for t in tasks} == {"train"}
    assert questions(tasks) == questions(draw(Shelf(limit), num, seed, step))


def test_another_seed_or_step_draws_other_tasks():
    drawn = [questions(draw(Shelf(None), 8, seed, step)) for seed, step in [(0, 1), (0, 2), (1, 1)]]
    assert len({q for d in drawn for q in d}) == 24


def test_item_i_does_not_depend_on_how_many_are_drawn():
    assert questions(draw(Shelf(None), 5)) == questions(draw(Shelf(None), 30))[:5]


@pytest.mark.parametrize("source", [Shelf(3), Shelf(1), Shelf(None, 4), Shelf(1000, 2)])
def test_a_source_with_few_questions_does_not_hold_the_run_up(source):
    tasks = draw(source, 512)
    assert len(tasks) == (source.num_questions or source.num)
    assert source.asked < 12_000


def test_a_source_without_a_training_task_says_so():
    with pytest.raises(BadInput, match="no training task") as caught:
        draw(Shelf(0), 4)
    assert caught.value.got == [("shelf", 1)]


def test_a_planted_overlap_with_the_held_out_set_stops_the_run():
    shelf = Shelf(10)
    assert draw(shelf, 10, held_out={f"test {i}" for i in range(10)})
    with pytest.raises(GateFailed, match="held-out") as caught:
        draw(shelf, 10, held_out={"train 7"})
    assert caught.value.got == "train 7"


def test_the_check_itself_passes_what_is_apart():
    check_disjoint(["a", "b"], {"c"})
    check_disjoint([], {"c"})
    with pytest.raises(GateFailed):
        check_disjoint(["a", "c"], {"c"})
