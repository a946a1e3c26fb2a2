import random

from evolvent.tasks.procedural import base, digits, logic, modular, strings


def test_steps_on_digits_worked_by_hand():
    assert digits.reverse("4821") == "1284"
    assert digits.ascending("4821") == "1248"
    assert digits.complement("4809") == "5190"
    assert digits.rotate("4821") == "8214"
    assert digits.swap_ends("4821") == "1824"
    assert digits.total("4821") == "15"
    assert digits.distinct("4841") == "3"


def test_a_word_comes_with_as_many_steps_as_its_level_has():
    for level in strings.LEVELS:
        word, _, steps = strings.make(random.Random(level), level).question.partition(": ")
        assert len(word) == strings.NUM_LETTERS[level] and len(steps.split(", ")) == strings.NUM_STEPS[level]


def test_an_order_is_the_only_one_that_fits_its_clues():
    from itertools import permutations

    for index in range(20):
        draft = logic.make(random.Random(index), 2)
        clues = draft.question.partition(".")[0].split()
        fits = [
            "".join(order)
            for order in permutations(sorted(draft.answer))
            if all((order.index(c[0]) < order.index(c[2])) == (c[1] == "<") for c in clues)
        ]
        assert fits == [draft.answer]


def test_a_power_is_worked_by_squaring():
    draft = next(d for i in range(99) if "^13 " in (d := modular.make(random.Random(i), 4)).question)
    number = draft.question.split("^")[0]
    assert [part.split("=")[0] for part in draft.solution[-1].text.split()] == [f"{number}^{n}" for n in (3, 6, 13)]


def test_numbers_are_written_in_a_base():
    assert base.in_base(255, 16) == "ff"
    assert base.in_base(5, 2) == "101"
