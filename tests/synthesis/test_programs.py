import pytest

from evolvent.rewards.programs import ABDUCTION, DEDUCTION, INDUCTION, MODES, check, is_program, outputs, shown
from evolvent.rollouts.selfplay import UNREADABLE
from evolvent.synthesis.programs import USELESS, Origin, Programs, Triplets, pose


def posed(family, program, inputs):
    return pose(family, program, inputs, "t", Origin("by hand"))


def test_an_interpreter_says_what_a_program_does():
    assert outputs("x*7%5", (3, 4)) == (1, 3)
    assert outputs("x-3*4", (2,)) == (-10,)  # the order of operations is Python's
    assert outputs("x//2", (7,)) == (3,)


@pytest.mark.parametrize(
    "program", ["x%0", "x/2", "x+", "y+1", "x**9", "()", "7", "print(x)", "x/0", "x(2)", "07+x", ""]
)
def test_what_fails_or_is_no_whole_number_has_no_outputs(program):
    assert outputs(program, (3,)) is None


def test_the_three_modes_by_hand():
    deduction = posed(DEDUCTION, "x*2+1", [3])
    assert (deduction.question, deduction.private.answer) == ("x*2+1 of 3 is", "7")
    assert [check(deduction, words).value for words in ("7", "8", "seven", "")] == [1, 0, 0, 0]
    abduction = posed(ABDUCTION, "x%5", [3])
    assert (abduction.question, abduction.private.answer) == ("x%5 of ? is 3", "3")
    # any input that gives the output is right, whether anybody thought of it or not
    assert [check(abduction, words).value for words in ("3", "8", "-2", "4", "x")] == [1, 1, 1, 0, 0]
    induction = posed(INDUCTION, "x+x", [1, 2, 3, 0])
    assert induction.question == "? of 1>2 2>4"
    # x*2 is the same program; 2**x fits what was shown and is banned; x%3*2 fits that too, and fails at 3
    assert [check(induction, words).value for words in ("x*2", "2**x", "x%3*2", "x+", "4")] == [1, 0, 0, 0, 0]
    assert outputs("x%3*2", (1, 2)) == (2, 4)


def test_what_cannot_be_run_cannot_be_posed():
    assert posed(DEDUCTION, "5%x", [0]) is None
    assert posed(INDUCTION, "5%x", [3, 2, 1, 0]) is None
    assert shown([(1, 2), (3, -4)]) == "1>2 3>-4"


@pytest.mark.parametrize("mode", MODES)
def test_what_a_cold_start_shows_can_be_read_but_for_the_broken_share(mode):
    seeds = [Triplets().task(mode, 1, i) for i in range(60)]
    whole, broken = Programs(0.0), Programs(1.0)
    assert {whole.read(seed, whole.show(seed)).fault for seed in seeds} == {""}
    # half a list of inputs is a fault, and so is a half program, unless what is left of it runs
    assert sum(bool(broken.read(seed, broken.show(seed)).fault) for seed in seeds) > 40
    for seed in seeds:
        task = whole.read(seed, whole.show(seed)).task
        assert (task.question, task.private.data) == (seed.question, seed.private.data)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("x*7%5 of 3", ""),
        ("x*7%5", UNREADABLE),
        ("x*7%5 of x", UNREADABLE),
        ("open('f') of 3", UNREADABLE),
        ("x**x of 9", UNREADABLE),
        ("x%0 of 3", USELESS),
        ("x+ of 3", USELESS),
        ("x/2 of 3", USELESS),
    ],
)
def test_faults_of_a_proposed_program(words, fault):
    assert Programs().read(Triplets().task(DEDUCTION, 1, 0), words).fault == fault


@pytest.mark.parametrize(
    ("words", "fault"), [("3 1 4 7", ""), ("3 1 4", UNREADABLE), ("3 1 4 x", UNREADABLE), ("3 1 4 4", USELESS)]
)
def test_faults_of_proposed_inputs(words, fault):
    assert Programs().read(Triplets().task(INDUCTION, 1, 0), words).fault == fault


def test_a_program_is_an_expression_over_x():
    assert is_program("(x+3)*2")
    assert not any(map(is_program, ["3", "x" * 30, "x y", "x;x", "x.y", "x**2", "x//0"]))


def test_the_splits_share_no_question():
    source = Triplets()
    for mode in MODES:
        asked = {s: {source.task(mode, 1, i, s).question for i in range(100)} for s in ("train", "test")}
        assert not asked["train"] & asked["test"]
