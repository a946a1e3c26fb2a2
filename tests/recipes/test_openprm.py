import pytest

from evolvent.credit.batch import form_groups
from evolvent.recipes import openprm
from evolvent.records import Episode, Message, Origin, Private, Reference, Task, ToolCall, Trace, Turn, said
from evolvent.rewards import by_task, judge_episodes


def spoken(expression, answer):
    """A prompt of two tokens, a call of two, its result of one, and an answer of one."""
    call = Message("assistant", (ToolCall("calc", {"expression": expression}),))
    turns = [(said("user", "?"), 2, False), (call, 2, True), (said("tool", "4"), 1, False)]
    turns.append((said("assistant", answer), 1, True))
    return tuple(
        Turn(str(i), None, "agent", i, message, (7,) * num, (mine,) * num, starts_context=i == 0)
        for i, (message, num, mine) in enumerate(turns)
    )


def judged(told):
    task = Task("t", "f", 1, (said("user", "?"),), Private("4"), Reference("evolvent.rewards:exact"), Origin("hand"))
    made = [Episode(f"e{i}", task, i, (Trace("t", i, "agent", "p", spoken(*t)),), t[1]) for i, t in enumerate(told)]
    return judge_episodes(by_task, made)


def test_credit_of_a_turn_is_what_is_still_gained_from_it_on() -> None:
    # V(root) = 1/2, V(2+2) = 2/3, then 1 or 0; V(2+3) = 0. Gains: 1/6 1/3, 1/6 1/3, 1/6 -2/3, -1/2 0
    groups = form_groups(judged([("2+2", "4"), ("2+2", "4"), ("2+2", "5"), ("2+3", "5")]), "p")
    (credits,) = openprm.TreeCredit(ddof=0, eps=0.0).by_trace(groups)
    gains = [1 / 6, 1 / 3, 1 / 6, 1 / 3, 1 / 6, -2 / 3, -1 / 2, 0.0]
    mean = sum(gains) / 8
    scale = (sum((g - mean) ** 2 for g in gains) / 8) ** 0.5
    first, second = ((g - mean) / scale for g in gains[:2])
    assert credits[0].tolist() == pytest.approx([first + second] * 4 + [second] * 2)
    assert credits[2][2] > credits[2][5]  # of the third attempt the call was right, and what was made of it was not
    assert credits[0][2] > credits[3][2]


def test_attempts_that_end_alike_have_no_credit() -> None:
    groups = form_groups(judged([("2+2", "4"), ("3+1", "4")]), "p")
    (credits,) = openprm.TreeCredit(ddof=1, eps=1e-4).by_trace(groups)
    assert not any(c.any() for c in credits)


def test_values_find_a_planted_mistake_and_permuted_ones_do_not(monkeypatch) -> None:
    monkeypatch.setattr(openprm, "NUM_TASKS", 256)
    true, more = openprm.locate(seed=100)
    share = sum(true.treated) / 256
    assert share > 0.65
    assert sum(true.control) / 256 < share - 0.15  # a wrong step also leaves the crowd, which is more than chance
    assert sum(more.control) / 256 < share
