from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.rewards.numbers import last_boxed, read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"),
        ("The answer is 42.", "42"),
        ("**42**", "42"),
        ("<answer>42</answer>", "42"),
        ("so 7*6=42", "42"),
        ("Step 2: 5", "5"),
        ("-3", "-3"),
        ("- 3", "-3"),
        ("−3", "-3"),
        ("x = -3", "-3"),
        ("(-3)", "-3"),
        ("-(3)", "-3"),
        ("0.50", "1/2"),
        (".5", "1/2"),
        ("1e3", "1000"),
        ("2.5e-1", "1/4"),
        ("1,234", "1234"),
        ("$1,234.50", "2469/2"),
        ("$-5$", "-5"),
        ("3/4", "3/4"),
        ("-3/4", "-3/4"),
        ("(1/2)", "1/2"),
        ("50%", "1/2"),
        ("50 %", "1/2"),
        (r"50\%", "1/2"),
        (r"\frac{3}{4}", "3/4"),
        (r"-\dfrac{1}{2}", "-1/2"),
        (r"\frac12", "1/2"),
        (r"\boxed{42}", "42"),
        (r"first \boxed{1}, then \boxed{2} after 7", "2"),
        (r"\boxed{{7}}", "7"),
        (r"\boxed{x=5}", "5"),
        (r"\boxed{5\text{ cm}}", "5"),
        (r"\boxed{1{,}234}", "1234"),
        (r"90^\circ", "90"),
        ("5 kg", "5"),
        ("7 then\n#### 1,234", "1234"),
    ],
)
def test_these_are_read(text: str, value: str) -> None:
    assert read_number(text).value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "3 or 4",
        "3 and 4",
        "3, 4",
        "between 3 to 4",
        "1 1/2",
        "3 ± 1",
        "10-3",
        "10 - 3",
        "2^5",
        "2 ^ 5",
        "42 + x",
        "5kg",
        "12,34",
        "1.2.3",
        "1_000",
        "5/0",
        "1/2/3",
        "٣",
        "nan",
        "inf",
        r"\boxed{",
        r"\boxed{3,4}",
        r"\boxed{3 4}",
        r"\boxed{none} 5",
        r"\boxed{2x}",
        "#### ",
        "#### 3 4",
        "12\n13",
        "1e9999",
        "9" * 500,
    ],
)
def test_these_are_refused_with_a_reason(text: str) -> None:
    reading = read_number(text)
    assert reading.value is None
    assert reading.why


def test_the_last_complete_box_counts_with_its_braces_balanced() -> None:
    assert last_boxed(r"\boxed{a} \boxed{\frac{1}{2}} \boxed{open") == r"\frac{1}{2}"
    assert last_boxed("nothing") is None
    assert last_boxed(r"\boxed{\}}") == r"\}"


def test_a_very_long_answer_is_read_in_linear_time() -> None:
    begin = time.monotonic()
    read_number(r"\boxed{" * 20_000)
    read_number("1 " * 50_000)
    read_number("{" * 100_000)
    assert time.monotonic() - begin < 20


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_every_integer_fraction_and_thousand_comes_back(top: int, bottom: int) -> None:
    assert read_number(f"{top}").value == top
    assert read_number(f"{top:,}").value == top
    assert read_number(f"so it is {top}/{bottom}.").value == Fraction(top, bottom)
    assert read_number(rf"\boxed{{{top}}}").value == top


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789.,/-+*%$\\{}()boxed #e=\n", max_size=60))
def test_any_text_gives_a_number_or_a_reason(text: str) -> None:
    reading = read_number(text)
    assert reading.why
    assert reading.value is None or isinstance(reading.value, Fraction)
