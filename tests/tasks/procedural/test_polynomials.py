from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.tasks.procedural import polynomials

some_polynomials = st.dictionaries(
    st.integers(0, 12), st.fractions(max_denominator=30).filter(bool).filter(lambda f: abs(f) < 10**6), max_size=5
)


@given(some_polynomials)
def test_what_is_written_is_read_back(polynomial):
    assert polynomials.parse(polynomials.write(polynomial)) == polynomial


@given(some_polynomials)
def test_the_derivative_undoes_the_antiderivative(polynomial):
    assert polynomials.derivative(polynomials.antiderivative(polynomial)) == polynomial


@given(st.text(alphabet="x0123456789+-*/^() .", max_size=60) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        found = polynomials.parse(text)
    except ValueError:
        return
    assert polynomials.parse(polynomials.write(found)) == found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3x^2 - x/2 + 1", {2: 3, 1: Fraction(-1, 2), 0: 1}),
        ("3*x**2", {2: 3}),
        ("5/2x^2", {2: Fraction(5, 2)}),
        ("(x+1)^2", {2: 1, 1: 2, 0: 1}),
        ("x*x*x", {3: 1}),
        ("-(x-1)(x+1)", {2: -1, 0: 1}),
        ("x-x", {}),
        ("0", {}),
    ],
)
def test_usual_ways_of_writing_are_read(text, wanted):
    assert polynomials.parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "x^", "2y", "1/x", "1/0", "x^-1", "x^99", "(x", "x)", "sin(x)", "9^64^2", "x" * 400, "(" * 99 + "x"]
)
def test_what_is_no_bounded_polynomial_is_refused(text):
    with pytest.raises(ValueError):
        polynomials.parse(text)


def test_towers_of_powers_are_refused_and_not_computed():
    with pytest.raises(ValueError, match="digits"):
        polynomials.parse("(((9^64)^64)^64)^64")
