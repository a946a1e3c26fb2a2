from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.tasks.procedural import antiderivative, factoring, terms

BASES = st.one_of(
    st.tuples(st.just("x"), st.integers(0, 9)), st.tuples(st.sampled_from(["sin", "cos", "exp"]), st.integers(1, 9))
)
SUMS = st.dictionaries(BASES, st.fractions(-99, 99, max_denominator=9).filter(bool), min_size=1, max_size=5)


def a_task(**data):
    return Task("t", "f", 1, (said("user", "?"),), Private("", data), Reference("a:b"), Origin("test"))


@given(SUMS)
def test_what_is_written_reads_as_the_same_sum(made):
    assert terms.parse(terms.write(made)) == made


@given(SUMS, st.fractions(-9, 9, max_denominator=4).filter(bool))
def test_order_and_a_constant_factor_change_no_key(made, factor):
    other = {base: factor * value for base, value in reversed(made.items())}
    assert terms.key(other) == terms.key(made)


def test_derivatives_by_hand():
    # (3x^2 - sin(2x)/2 + 4cos(3x) - exp(x) + 7)' = 6x - cos(2x) - 12 sin(3x) - exp(x)
    made = terms.parse("3x^2-sin(2x)/2+4cos(3x)-exp(x)+7")
    assert terms.derivative(made) == terms.parse("6x-cos(2x)-12sin(3x)-exp(x)")
    assert terms.derivative({("x", 0): Fraction(3)}) == {}


@pytest.mark.parametrize(
    "text",
    ["", "x^", "2 3y", "sin()", "sin(0x)", "sin(x", "x/0", "3//2", "1234567890x", "x" * 300, "--x", "Integral(x)"],
)
def test_what_is_no_sum_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        terms.parse(text)


@given(st.text(alphabet="0123456789x+-*/^() sincoexp", max_size=40) | st.text(max_size=20))
def test_own_checks_judge_any_text_without_breaking(text):
    assert antiderivative.check(a_task(integrand="2x"), text).value in (0.0, 1.0)
    assert factoring.check(a_task(product="x^2-1"), text).value in (0.0, 1.0)


def test_an_antiderivative_may_have_any_constant_and_any_order():
    task = a_task(integrand="6x^2-2sin(2x)")
    for answer in ("2x^3+cos(2x)", "cos(2x) + 2x^3 - 5", "4x**3/2+cos(2*x)+C"):
        assert antiderivative.check(task, answer).value == 1.0, answer
    for answer in ("2x^3", "2x^3-cos(2x)", "6x^2-2sin(2x)", "", "C"):
        assert antiderivative.check(task, answer).value == 0.0, answer


def test_factors_may_come_in_any_order_and_must_be_linear_and_several():
    task = a_task(product="2x^2-2")
    for answer in ("2(x-1)(x+1)", "(2x+2)(x-1)", "-2(1-x)(x+1)"):
        assert factoring.check(task, answer).value == 1.0, answer
    for answer in ("2x^2-2", "(2x^2-2)", "(2x^2-2)(1)", "2(x-1)(x-1)", "(x-1)(x+1)", "(2x^2-2)^1", "2", ""):
        assert factoring.check(task, answer).value == 0.0, answer
    assert factoring.check(a_task(product="x^2+4x+4"), "(x+2)^2").value == 1.0
