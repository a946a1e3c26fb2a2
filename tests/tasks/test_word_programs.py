import random
from dataclasses import replace

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.records import Origin
from evolvent.tasks.word_programs import ENDS, Program, Step, check, draw_step, draw_word, program_of, task_of


def test_steps_on_words_worked_by_hand():
    told = {
        Step("reverse"): ("reverse", "dcba"),
        Step("reverse", 3): ("reverse the first 3", "cbad"),
        Step("double"): ("double the last letter", "abcdd"),
        Step("double", 2): ("double the last 2 letters", "abcdcd"),
        Step("rotate", 1): ("first 1 to end", "bcda"),
        Step("upper", 2): ("uppercase every 2nd", "aBcD"),
        Step("count", letter="a"): ("count a", "1"),
        Step("drop", letter="b"): ("drop every b", "acd"),
        Step("add", letter="x"): ("add x behind", "abcdx"),
        Step("lead", letter="x"): ("put x in front", "xabcd"),
        Step("cut", 1): ("leave out the first letter", "bcd"),
        Step("cut", 3): ("leave out the first 3 letters", "d"),
        Step("reverse", least=4): ("reverse if 4 or longer", "dcba"),
        Step("reverse", least=5): ("reverse if 5 or longer", "abcd"),
    }
    assert {step: (step.words, step.apply("abcd")) for step in told} == told
    assert Step("sort").apply("bdca") == "abcd" and Step("sort", 2).apply("dbca") == "bdca"
    assert (Step("plus", 3).apply("4"), Step("times", 3).apply("4")) == ("7", "12")


def test_steps_are_drawn_so_that_they_change_something():
    made = {draw_step("upper", "abcdef", random.Random(i)) for i in range(20)}
    assert {(s.words, s.apply("abcdef")) for s in made} == {
        ("uppercase every 2nd", "aBcDeF"),
        ("uppercase every 3rd", "abCdeF"),
    }
    assert draw_step("drop", "aaa", random.Random(0)) == Step("count", letter="a")
    ends = [draw_step(name, "aa", random.Random(i), "bc") for name in ENDS for i in range(20)]
    assert {s.letter for s in ends} == {"", "b", "c"} and all(s.apply("aa") not in ("", "aa") for s in ends)
    assert set(draw_word(random.Random(0), 5, "abc")) <= set("abc")


def test_the_results_of_a_program_are_executed_in_order():
    program = Program("abca", (Step("drop", letter="b"), Step("reverse"), Step("count", letter="a"), Step("plus", 3)))
    # abca -> aca -> aca -> 2 -> 5
    assert program.results() == ("aca", "aca", "2", "5") and program.is_counted
    assert program.words == "abca: drop every b, reverse, count a, plus 3"
    assert program.terse == "abca: drop b, reverse, count a, plus 3"
    assert Step("rotate", 2, least=4).terse == "rotate 2 if 4+"


def test_a_task_carries_its_program_and_is_judged_by_it():
    program = Program("abc", (Step("reverse", least=2), Step("double", 2)))
    task = task_of(program, "t", Origin("made"), family="f", level=1, split="train")
    again = from_json(to_json(task))
    assert again == task and program_of(again) == program
    assert task.private.answer == "cbaba" and task.private.solution[0].text == "cba>cbaba"
    assert [check(task, text).value for text in ("cbaba", "cba>cbaba", "abc> cbaba ", "cba", "")] == [1, 1, 1, 0, 0]


def test_what_is_no_step_and_no_program_is_refused():
    with pytest.raises(BadInput, match="no such step"):
        Step("revert")
    task = task_of(Program("a", (Step("double"),)), "t", Origin("made"), family="f", level=1, split="train")
    with pytest.raises(BadInput, match="no program"):
        program_of(replace(task, private=None))
