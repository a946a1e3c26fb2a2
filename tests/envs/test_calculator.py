from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.envs.calculator import calc
from evolvent.errors import ToolError

small = st.integers(0, 10**6).map(str)


def joined(parts: tuple[str, str, str]) -> str:
    return f"({parts[0]}{parts[1]}{parts[2]})"


whole = st.recursive(
    small | small.map("-{}".format),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", " * ", "//", "%"]), inner).map(joined),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1+2*3", "7"),
        ("(1+2)*3", "9"),
        ("10/4", "2.5"),
        ("10/3", "3.333333333333"),
        ("0.1+0.2", "0.3"),
        ("1/3*3", "1"),
        ("2**-3", "0.125"),
        ("-2**2", "-4"),
        ("2**3**2", "512"),
        ("7//-2", "-4"),
        ("-7%3", "2"),
        ("1.5%1", "0.5"),
        ("--3", "3"),
        ("(-1)**999999999999", "-1"),
        ("0**0", "1"),
        ("123456789*987654321", "121932631112635269"),
    ],
)
def test_expressions_worked_by_hand(expression: str, value: str) -> None:
    assert calc(expression) == value


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("47*", "cannot read '47*': a number is missing at the end"),
        ("", "the expression is empty"),
        ("(1", "a ')' is missing"),
        ("1)", "')' is not expected"),
        ("1/0", "division by zero"),
        ("1%0", "division by zero"),
        ("0**-1", "division by zero"),
        ("2^3", "write ** for a power"),
        ("1,000", "not 1,234"),
        ("x+1", "'x' is not expected"),
        ("__import__('os')", "is not expected"),
        ("2**0.5", "the exponent 0.5 is not a whole number"),
        ("9**9**9", "too large"),
        ("9**999999999999", "too large"),
        ("(" * 60, "inside each other"),
        ("-" * 300, "256 is the limit"),
        ("9" * 250 + "**2", "too large"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words_that_help(expression: str, words: str) -> None:
    with pytest.raises(ToolError, match="(?s)" + __import__("re").escape(words)):
        calc(expression)


@settings(max_examples=150, deadline=None)
@given(whole)
def test_whole_numbers_agree_with_python(expression: str) -> None:
    try:
        wanted = str(eval(expression.replace("(0", "(0").replace(" ", ""), {}))
    except ZeroDivisionError:
        wanted = "division by zero"
    try:
        got = calc(expression)
    except ToolError as error:
        got = error.what
        if "characters" in got or "too large" in got:
            return
    assert got == wanted


@settings(max_examples=100, deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_a_quotient_is_right_to_twelve_places(top: int, bottom: int) -> None:
    got = Fraction(calc(f"({top})/{bottom}"))
    assert abs(got - Fraction(top, bottom)) <= Fraction(1, 10**11)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789.+-*/%() ^ex٣", max_size=40))
def test_any_text_gives_a_number_or_a_tool_error(text: str) -> None:
    try:
        Fraction(calc(text))
    except ToolError as error:
        assert error.what
