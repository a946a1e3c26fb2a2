from __future__ import annotations

from dataclasses import replace

import pytest

from evolvent.errors import VerifierError
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.rewards import exact, format_matches, numeric, program_output
from evolvent.rewards.verify import program_in


def task(answer: str = "", **data: object) -> Task:
    private = Private(answer, data)
    return Task("t", "f", 1, (said("user", "?"),), private, Reference("evolvent.rewards:exact"), Origin("hand"))


@pytest.mark.parametrize("answer", ["ab c", " ab c\n", "ab  c"])
def test_exact_accepts(answer: str) -> None:
    assert exact(task("ab c"), answer).value == 1.0


@pytest.mark.parametrize("answer", ["", "  ", "abc", "AB C", "ab c.", "ab"])
def test_exact_rejects(answer: str) -> None:
    score = exact(task("ab c"), answer)
    assert (score.value, score.components) == (0.0, {"exact": 0.0})
    assert score.why


def test_no_answer_is_wrong_even_where_the_wanted_one_is_empty() -> None:
    assert exact(task(""), "").value == 0.0


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("42", "The answer is 42."),
        ("1/3", r"\boxed{\frac{2}{6}}"),
        ("0.5", "50%"),
        ("#### 1,000", "1e3"),
        ("-7", "x = -7"),
    ],
)
def test_numeric_accepts(wanted: str, answer: str) -> None:
    assert numeric(task(wanted), answer).value == 1.0


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [("42", "43"), ("50", "50%"), ("1/3", "0.3333"), ("42", "42 or 43"), ("42", "41, 42"), ("42", ""), ("5", "10-5")],
)
def test_numeric_rejects(wanted: str, answer: str) -> None:
    score = numeric(task(wanted), answer)
    assert (score.value, score.components) == (0.0, {"numeric": 0.0})


def test_tolerances_are_inclusive_and_exact_in_decimals() -> None:
    assert numeric(task("3"), "3.3", tolerance=0.3).value == 1.0
    assert numeric(task("3"), "3.31", tolerance=0.3).value == 0.0
    assert numeric(task("-200"), "-202", relative=0.01).value == 1.0
    assert numeric(task("-200"), "-202.1", relative=0.01).value == 0.0


def test_the_reason_never_tells_the_wanted_answer() -> None:
    for check in (exact, numeric):
        assert "98765" not in check(task("98765"), "12").why


def test_a_task_whose_own_answer_cannot_be_used_is_a_verifier_error() -> None:
    with pytest.raises(VerifierError, match="not a number"):
        numeric(task("many"), "3")
    with pytest.raises(VerifierError, match="private part"):
        exact(replace(task(), private=None), "3")
    with pytest.raises(VerifierError, match="tests of a task"):
        program_output(task(inputs=["1"], outputs=[]), "print(1)")


def test_format_speaks_of_the_whole_answer() -> None:
    assert format_matches(task(), " <a>\nx\n</a> ", "<a>.*</a>").value == 1.0
    assert format_matches(task(), "so: <a>x</a>", "<a>.*</a>").value == 0.0


adding = {"inputs": ["3\n4", "1\n1", "0\n0"], "outputs": ["7\n", "2", "0"]}


def test_a_right_program_passes_every_test() -> None:
    score = program_output(task(**adding), "Here:\n```python\na = int(input())\nprint(a + int(input()))\n```\nDone.")
    assert score.value == 1.0
    assert score.components == {"test 1": 1.0, "test 2": 1.0, "test 3": 1.0}


@pytest.mark.parametrize(
    ("program", "value", "words"),
    [
        ("print(7)", 1 / 3, "test 2: printed '7'"),
        ("", 0.0, "printed ''"),
        ("3 + 4", 0.0, "printed ''"),
        ("print(input() +", 0.0, "SyntaxError"),
        ("a = input()\nb = input()\nc = input()", 0.0, "line 3: RuntimeError: no more input"),
        ("print(open('/etc/hostname').read())", 0.0, "PermissionError"),
        ("while True: pass", 0.0, "took longer"),
    ],
)
def test_a_wrong_program_earns_its_share_and_a_reason(program: str, value: float, words: str) -> None:
    score = program_output(task(**adding), program, timeout_s=0.2)
    assert score.value == pytest.approx(value)
    assert words in score.why


def test_the_last_fenced_block_is_the_program() -> None:
    assert program_in("```\nold\n```\nthen\n```python\nnew\n```") == "new\n"
    assert program_in("print(1)") == "print(1)"
