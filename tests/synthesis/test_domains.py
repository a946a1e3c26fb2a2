"""What a setter may propose: read, verified, told apart, and told from a copy."""

from dataclasses import replace

import pytest

from evolvent.synthesis.domains import Elementary, Factorings, Integrals
from evolvent.tasks import Procedural
from evolvent.tasks.procedural import polynomials, terms

INTEGRALS = Procedural(("antiderivative",))
SEED = INTEGRALS.task("antiderivative", 2, 0)
SQUARES = Procedural(("factoring",)).task("factoring", 1, 0)


def seed_of(problem, task=SEED, name="integrand"):
    return replace(task, private=replace(task.private, data={name: problem}))


def shown(seed):
    return Integrals().read(seed, Integrals().show(seed))


def test_demonstrations_are_valid_and_longer_than_their_seed():
    for level in (1, 2, 3):
        for index in range(40):
            seed = INTEGRALS.task("antiderivative", level, index)
            made = shown(seed)
            assert made.fault == ""
            assert len(made.form.split()) == level + 1
    for index in range(40):
        seed = Procedural(("factoring",)).task("factoring", 1, index)
        assert Factorings().read(seed, Factorings().show(seed)).fault in ("", "copy")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("x^2 => 2x", ""),
        ("x^2+1 => 2x", ""),  # the constant is free
        ("cos(x)+x^3 => 3x^2-sin(x)", ""),
        ("x^3 => 2x", "wrong"),
        ("Integral(2x, x) => 2x", "unreadable"),
        ("x^2", "unreadable"),
        ("x^2 => 2x => 2", "unreadable"),
        ("5 => 0", "trivial"),
        ("5 => 2x", "trivial"),
        ("x^2 => 0", "trivial"),
        ("100x => 100", "too large"),
        ("x^2+x^3 => 3x^2+2x", "copy"),  # of 6x+9x^2, in another order and divided by 3
    ],
)
def test_an_integral_is_verified_exactly(words, fault):
    made = Integrals().read(seed_of("6x+9x^2"), words)
    assert made.fault == fault
    assert set(Integrals.faults) >= {fault} - {""}
    assert (made.task is None) == (fault in ("unreadable", "trivial"))


def test_solvers_are_judged_by_the_reference_true_or_not():
    made = Integrals().read(seed_of("6x"), "x^3 => 2x")
    assert made.fault == "wrong"
    check = made.task.judge.load()
    assert made.task.question == "integrate 2x"
    assert check(made.task, "x^3+1").value == 1.0
    assert check(made.task, "x^2").value == 0.0
    assert made.task.origin.parents == (SEED.task_id,)


def test_corrupting_one_coefficient_of_every_reference_lets_almost_nothing_through():
    passed = 0
    for index in range(60):
        seed = INTEGRALS.task("antiderivative", 2, index)
        reference, _, problem = Integrals().show(seed).partition(" => ")
        made = dict(terms.parse(reference))
        first = next(iter(made))
        made[first] += 1 if made[first] != -1 else 2
        passed += not Integrals().read(seed, f"{terms.write(made)} => {problem}").fault
    assert passed == 0


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("(x+2)(x-3) => x^2-x-6", ""),
        ("(x+2)(x-3) => x^2+x-6", "wrong"),
        ("x^2-x-6 => x^2-x-6", "unreadable"),
        ("(x+99)(x-99) => x^2-9801", "too large"),
        ("2(x+1)(x+2) => 2x^2+6x+4", "copy"),
        ("(x+1) => x+1", "unreadable"),
    ],
)
def test_a_factoring_is_verified_by_multiplying_out(words, fault):
    made = Factorings().read(seed_of("x^2+3x+2", SQUARES, "product"), words)
    assert made.fault == fault
    if made.task is not None and not fault:
        assert made.task.judge.load()(made.task, "(x-3)(x+2)").value == 1.0
        assert polynomials.parse(made.problem) == polynomials.parse("x^2-x-6")


# the lists of the method's description, through numbers and proof
@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("log(x+sqrt(x^2+1)) => 1/sqrt(x^2+1)", ""),
        ("x*atan(x)-1/2*log(1+x^2) => atan(x)", ""),
        ("x/2-sin(2*x)/4 => sin(x)^2", ""),
        ("log(sec(x)+tan(x)) => sec(x)", ""),
        ("log|x| => 1/x", ""),
        ("x^2+1 => 2*x", ""),
        ("x^3 => 2x", "wrong"),
        ("log(x)+x => 1/x", "wrong"),
        ("Integral(2x, x) => 2x", "unreadable"),
        ("x^2+a => 2x", "unreadable"),
        ("7 => 2x", "trivial"),
        ("x^2 => 0", "unreadable"),
        ("2sin(x)*x => 2sin(x)+2x*cos(x)", "copy"),  # of 3x cos(x) + 3 sin(x)
    ],
)
def test_elementary_functions_are_verified_by_numbers_and_by_proof(words, fault):
    made = Elementary(timeout_s=60.0).read(seed_of("3x*cos(x)+3sin(x)"), words)
    assert made.fault == fault
    assert (made.task is None) == (fault in ("unreadable", "trivial"))


def test_the_exact_and_the_symbolic_verifier_agree():
    elementary, exact = Elementary(timeout_s=60.0), Integrals()
    for index in range(6):
        seed = INTEGRALS.task("antiderivative", 2, index)
        true = exact.show(seed)
        for words in (true, true + "+3", true + "-x"):  # the last two have a wrong integrand
            assert exact.read(seed, words).fault == elementary.read(seed, words).fault
