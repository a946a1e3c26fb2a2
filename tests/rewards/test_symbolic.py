from __future__ import annotations

import time

import pytest

from evolvent.errors import VerifierError
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.rewards import antiderivative, equivalent
from evolvent.rewards.workers import DeadlineError


def task(answer: str = "", **data: object) -> Task:
    private = Private(answer, data)
    return Task("t", "f", 1, (said("user", "?"),), private, Reference("evolvent.rewards:equivalent"), Origin("hand"))


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("x^2+1", "1+x^2"),
        ("(x+1)^2", r"\boxed{x^2+2x+1}"),
        ("1/2", "0.5"),
        ("sqrt(2)/2", r"$\frac{1}{\sqrt{2}}$"),
        ("x*sin(x)", "sin(x)*x"),
        ("x^10", "x^11/x"),
        ("x^(1/2)", r"\sqrt{x}"),
        (r"\{1,2\}", r"\{2,1\}"),
        ("3", r"Adding up, we find \boxed{3}."),
        (r"\sin^2 x", r"1-\cos^2 x"),
    ],
)
def test_equivalent_accepts(wanted: str, answer: str) -> None:
    assert equivalent(task(wanted), answer, timeout_s=60.0).value == 1.0


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("x^2+1", "x^2-1"),
        ("3", "4"),
        ("x", "y"),
        ("1/3", "0.333"),
        ("[1,2)", "(1,2]"),
        ("2", "no idea"),
        ("2", ""),
        ("x^10", "x^1"),
    ],
)
def test_equivalent_rejects(wanted: str, answer: str) -> None:
    score = equivalent(task(wanted), answer, timeout_s=60.0)
    assert score.value == 0.0
    assert score.why


def test_a_wanted_answer_that_is_not_mathematics_is_a_verifier_error() -> None:
    with pytest.raises(VerifierError, match="not mathematics"):
        equivalent(task("no idea at all"), "3", timeout_s=60.0)


def test_a_power_tower_is_killed_and_the_next_check_works() -> None:
    assert equivalent(task("3"), "3", timeout_s=60.0).value == 1.0
    begin = time.monotonic()
    with pytest.raises(DeadlineError):
        equivalent(task("3"), r"\boxed{9^{9^{9^{9}}} + 3}", timeout_s=0.5)
    assert time.monotonic() - begin < 60
    assert equivalent(task("3"), "3", timeout_s=60.0).value == 1.0


# the lists of the VHG sheet, and further forms of the same functions
@pytest.mark.parametrize(
    ("integrand", "answer"),
    [
        ("1/sqrt(x^2+1)", "log(x+sqrt(x^2+1))"),
        ("atan(x)", "x*atan(x) - 1/2*log(1+x^2)"),
        ("sin(x)^2", "x/2 - sin(2*x)/4"),
        ("2*x", "x^2+1"),
        ("sec(x)", "log(sec(x)+tan(x))"),
        ("1/x", "log|x|"),
        ("1/x", "log(x)"),
        ("2x", "x^2 + C"),
        ("2x", r"so it is \boxed{x^2}"),
        ("exp(x)", "e^x"),
        ("x**x*(log(x)+1)", "x**x"),
        ("sqrt(x)", "2/3 x^(3/2)"),
        ("sin^2(x)", "x/2 - sin(x)cos(x)/2"),
    ],
)
def test_antiderivative_accepts(integrand: str, answer: str) -> None:
    score = antiderivative(task(integrand=integrand), answer, timeout_s=60.0)
    assert (score.value, dict(score.components)) == (1.0, {"readable": 1.0, "numeric": 1.0, "symbolic": 1.0})


@pytest.mark.parametrize(
    ("integrand", "answer", "words"),
    [
        ("2x", "x^3", "differs"),
        ("1/x", "log(x)+x", "differs"),
        ("2x", "1.0000001x^2", "differs"),
        ("2x", "Integral(2*x, x)", "'Integral' is not"),
        ("2x", "integrate(2x)", "'integrate' is not"),
        ("2x", "Derivative(x^3/3, x)", "'Derivative' is not"),
        ("2x", "Sum(2*x, x)", "'Sum' is not"),
        ("2x", "f(x)", "'f' is not"),
        ("2x", "x^2 + a", "'a' is not"),
        ("2x", "x^2 + Heaviside(x)", "'Heaviside' is not"),
        ("2x", "Piecewise((x^2, x>0))", "'Piecewise' is not"),
        ("2x", "RootOf(x)", "'RootOf' is not"),
        ("exp(x^2)", "sqrt(pi)/2*erfi(x)", "'erfi' is not"),
        ("2x", "__import__('os').system('ls')", "'__import__' is not"),
        ("2x", "5", "a constant"),
        ("2x", "x^2 + 1234567890123", "12 digits"),
        ("2x", "x^2 + 9^9^9^9", "an exponent beyond 64"),
        ("2x", "x^2 + ((9^64)^64)^64", "a huge number"),
        ("2x", "x^2 + 1/0", "not defined"),
        ("2x", "x^2 + " + "+".join(f"sin({n}x)" for n in range(2, 40)), "more than 60 parts"),
        ("2x", "x^2" + " " * 500 + "+1", "400 characters"),
        ("2x", "", "ends too early"),
        ("log(x-3)", "(x-3)*log(x-3)-x", "undecided: only 0 of 8"),
    ],
)
def test_antiderivative_rejects_with_a_reason(integrand: str, answer: str, words: str) -> None:
    score = antiderivative(task(integrand=integrand), answer, timeout_s=60.0)
    assert score.value == 0.0
    assert words in score.why


def test_numbers_alone_never_accept() -> None:
    nearly = "x^2 + x^2/10^10"  # F' is off by 1e-10 relative: below what numbers can see
    score = antiderivative(task(integrand="2x"), nearly, timeout_s=60.0)
    assert dict(score.components) == {"readable": 1.0, "numeric": 1.0, "symbolic": 0.0}
    assert "undecided" in score.why


@pytest.mark.parametrize("integrand", ["0", "x - x", "g(x)", ""])
def test_an_integrand_that_cannot_be_used_is_the_task_s_fault(integrand: str) -> None:
    with pytest.raises(VerifierError, match="integrand"):
        antiderivative(task(integrand=integrand), "x", timeout_s=60.0)
