import pytest

from evolvent.tasks.harmless import is_harmless


@pytest.mark.parametrize(
    "answer",
    [
        "(3+7)*8-2",
        "3*7/8",
        "x**3/3 - 2*x + C",
        "-3*x**2*exp(-x)/2 + sqrt(x)*log(2*x)",
        "sin(x)**2/2",
        "2*x**(3/2)/3",
        "14*x**6 - 7*x**2*y**3",
        "[[0, 1], [1, 0]]",
        "0 1 2\n1 0 1",
        "['A', 'B']",
        "ABCD",
        "1.5",
        "_ _ Q _",
        "",
    ],
)
def test_literals_and_formulas_pass(answer):
    assert is_harmless(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os').system('true')",
        "open('x')",
        "().__class__",
        "x.subs(x, 1)",
        "[c for c in 'abc']",
        "(lambda: 1)()",
        "eval('1')",
        "9**9**9",
        "9**999",
        "9**(9**9)",
        "((((9**9)**99)**99)**99)**99",
        "1<<99999999999",
        "99999999!",
        "factorial(99999999)",
        "'a'*99999999999",
        "[0]*99999999999",
        "'%99999999999d'%1",
        "f'{1:99999999999}'",
        "[print][0](1)",
        "(print)(1)",
        "1" * 30_000,
    ],
)
def test_what_calls_looks_up_or_grows_is_refused(answer):
    assert not is_harmless(answer)
