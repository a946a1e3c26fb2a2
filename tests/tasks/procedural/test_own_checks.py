from hypothesis import given
from hypothesis import strategies as st

from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.tasks.procedural import base, countdown, derivative, graph, integral


def a_task(answer: str, **data: object) -> Task:
    return Task("t", "f", 1, (said("user", "?"),), Private(answer, data), Reference("a:b"), Origin("test"))


def test_countdown_uses_each_number_at_most_once():
    task = a_task("3*7+8", numbers=[3, 7, 8], target=29)
    assert countdown.check(task, "8 + 7*3").value == 1.0
    assert countdown.check(task, "3*7+8=29").value == 1.0
    assert countdown.check(task, "3*7+8=30").value == 0.0
    assert countdown.check(task, "29").value == 0.0
    assert countdown.check(task, "8+7+7+7").value == 0.0
    assert countdown.check(a_task("5+3", numbers=[3, 5, 9], target=8), "5+3").value == 1.0


def test_countdown_divides_exactly():
    assert countdown.check(a_task("7/2*2", numbers=[7, 2, 2], target=7), "7/2*2").value == 1.0
    assert countdown.check(a_task("7", numbers=[7, 2], target=3), "7/2").value == 0.0
    assert countdown.check(a_task("7", numbers=[7, 2, 2], target=3), "7/(2-2)").value == 0.0


@given(st.text(alphabet="0123456789+-*/() =", max_size=40) | st.text(max_size=20))
def test_own_checks_judge_any_text_without_breaking(text):
    for check, task in (
        (countdown.check, a_task("3*7+8", numbers=[3, 7, 8], target=29)),
        (integral.check, a_task("x^2", integrand="2x")),
        (derivative.check, a_task("2x")),
        (base.check, a_task("1f", base=16)),
    ):
        assert check(task, text).value in (0.0, 1.0)


def test_countdown_computes_no_powers():
    task = a_task("1", numbers=[9, 9], target=1)
    assert countdown.check(task, "9**9**9**9").value == 0.0
    assert countdown.check(task, "9//9").value == 0.0
    assert countdown.check(task, "(" * 90 + "9" + ")" * 90).value == 0.0


def test_an_integral_may_have_any_constant_and_any_form():
    task = a_task("x^2", integrand="2x")
    for answer in ("x^2", "x^2+1", "x^2 - 7/3", "x**2 + C", "x*x+c", "4x^2/4", "(x+1)^2-2x+K"):
        assert integral.check(task, answer).value == 1.0, answer
    for answer in ("x^3", "2x", "x^2+x", "C", "", "x^2+D", "x^2+Cx"):
        assert integral.check(task, answer).value == 0.0, answer


def test_a_derivative_is_judged_as_a_polynomial():
    task = a_task("6x+5")
    assert derivative.check(task, "5 + 6*x").value == 1.0
    assert derivative.check(task, "6x+5+C").value == 0.0


def test_a_number_in_a_base_may_have_capitals_and_leading_zeros():
    task = a_task("1f", base=16)
    assert base.check(task, "1F").value == 1.0
    assert base.check(task, "001f").value == 1.0
    assert base.check(task, "0x1f").value == 0.0
    assert base.check(task, "1_f").value == 0.0
    assert base.check(task, "31").value == 0.0


def test_steps_in_a_graph_worked_by_hand():
    edges = [("a", "b"), ("b", "c"), ("c", "d"), ("b", "d"), ("e", "f")]
    assert graph.num_steps(edges, "a", "d") == 2
    assert graph.num_steps(edges, "d", "a") == 2
    assert graph.num_steps(edges, "a", "f") is None
