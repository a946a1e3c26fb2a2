import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.records import Image, Message, Origin, Private, Reference, Task, said
from evolvent.synthesis import screen
from evolvent.synthesis.screening import answer_leaks
from evolvent.tasks import Procedural
from evolvent.tasks.procedural import family_names


def a_task(task_id: str, question: str, answer: str = "7") -> Task:
    return Task(
        task_id, "f", 1, (said("user", question),), Private(answer), Reference("evolvent.rewards:x"), Origin("test")
    )


def test_every_task_is_kept_once_or_dropped_once_with_a_reason():
    tasks = [
        a_task("good", "3+4=?"),
        a_task("again", " 3+4=?  "),
        a_task("known", "2+5=?"),
        a_task("no prompt", "  "),
        a_task("no answer", "1+1=?", " "),
        a_task("bell", "ring \x07"),
        a_task("half", "x\ufffd"),
        a_task("told", "1+6=? (answer: 7)"),
        a_task("easy", "7"),
        a_task("hard", "7*1"),
        a_task("unmeasured", "8-1"),
    ]
    solved = {task.task_id: 0.5 for task in tasks[:-1]} | {"easy": 1.0, "hard": 0.0}
    found = screen(tasks, known=[a_task("old", "2+5=?")], solved=solved)
    assert [task.task_id for task in found.kept] == ["good"]
    assert found.dropped == {
        "duplicate": ("again",),
        "known already": ("known",),
        "empty prompt": ("no prompt",),
        "empty answer": ("no answer",),
        "control characters": ("bell", "half"),
        "answer in the prompt": ("told",),
        "solved too often": ("easy",),
        "solved too rarely": ("hard",),
        "no pass rate": ("unmeasured",),
    }
    assert found.num_dropped == 10


def test_without_pass_rates_nothing_is_dropped_for_them():
    assert screen([a_task("a", "3+4=?")]).dropped == {}


@pytest.mark.parametrize(("rate", "is_kept"), [(0.2, False), (0.21, True), (0.79, True), (0.8, False)])
def test_the_band_of_pass_rates_is_open(rate, is_kept):
    found = screen([a_task("a", "3+4=?")], solved={"a": rate}, low=0.2, high=0.8)
    assert bool(found.kept) == is_kept


def test_an_empty_band_is_refused():
    with pytest.raises(BadInput):
        screen([], low=0.5, high=0.5)


def test_capitals_make_another_problem_only_where_they_make_another_answer():
    found = screen([a_task("a", "reverse aB", "Ba"), a_task("b", "reverse ab", "ba"), a_task("c", "Reverse ab", "ba")])
    assert [task.task_id for task in found.kept] == ["a", "b"]
    powers = screen([a_task("a", "x² at 3", "9"), a_task("b", "x2 at 3", "6")])
    assert len(powers.kept) == 2


def test_pictures_tell_prompts_apart():
    shown = [
        dataclasses.replace(a_task(name, "?"), prompt=(Message("user", (Image(name),)),)) for name in ("one", "two")
    ]
    assert len(screen(shown).kept) == 2


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 3+4? The answer is 7.", "7"),
        ("3+4? Answer: 7", "7"),
        ("3+4?\n#### 7", "7"),
        (r"3+4? \boxed{7}", "7"),
        ("3+4? answer = **7**", "7"),
        ("Expand (x+1)^3, that is x^3+3x^2+3x+1.", "x^3+3x^2+3x+1"),
        ("Which code? It is\nAB12-CD34-EF56!", "ab12-cd34-ef56"),
    ],
)
def test_an_answer_that_is_told_leaks(question, answer):
    assert answer_leaks(a_task("a", question, answer))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("3 apples and 4 pears: how many?", "3"),
        ("Is 7 a prime? Answer yes or no.", "yes"),
        ("Is 7 a prime? Answer: yes or no", "yes"),
        ("Is 7 a prime? Answer: yes/no", "yes"),
        ("The answer is 17 times what over 7?", "1"),
        ("The answer is 7.5 in which unit?", "7"),
        ("1234567890123456 is how many digits?", "123456789012"),
    ],
)
def test_a_short_answer_that_stands_in_the_prompt_by_chance_does_not_leak(question, answer):
    assert not answer_leaks(a_task("a", question, answer))


def test_a_rule_of_ones_own_replaces_the_one_about_leaks():
    quoting = a_task("a", "Who? 'It was Alexander Hamilton.'", "Alexander Hamilton")
    assert not screen([quoting]).kept
    assert screen([quoting], leaks=lambda task: False).kept == (quoting,)


def test_procedural_tasks_pass():
    source = Procedural(family_names())
    tasks = [
        source.task(name, level, index)
        for name in source.families
        for level in source.levels(name)[2:]
        for index in range(20)
    ]
    found = screen(tasks)
    assert set(found.dropped) <= {"duplicate"}
    assert len(found.kept) > 0.95 * len(tasks)


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=3)), max_size=12))
def test_screening_twice_changes_nothing(rows):
    tasks = [a_task(str(number), question, answer) for number, (question, answer) in enumerate(rows)]
    once = screen(tasks)
    again = screen(once.kept)
    assert again.kept == once.kept
    assert again.dropped == {}
    assert len(once.kept) + once.num_dropped == len(tasks)
