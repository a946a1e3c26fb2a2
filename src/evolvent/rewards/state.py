"""Checks an answer and how the world was left, together: the right words over the wrong rows are wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.envs.databases.named import world_of
from evolvent.envs.sandbox import Ended
from evolvent.errors import VerifierError
from evolvent.records import Score, Task
from evolvent.rewards.fields import TOLERANCE, read_fields, same_value
from evolvent.rewards.verifier_code import run_verifier
from evolvent.rewards.verify import private

KEY = "state"


def check(task: Task, answer: str, evidence: Mapping[str, Any] | None = None, tolerance: float = TOLERANCE) -> Score:
    """1 where the answer is the wanted one and the world was left as it should be; the components keep both.

    The task's private `state` is a digest of all rows, or {"assertions": [...], "only": bool}; see `holds`.
    An answer that is a JSON object is compared field by field.
    """
    is_right = answer_is_right(private(task).answer, answer, tolerance)
    left = private(task).data.get(KEY)
    if not isinstance(left, str) and not (isinstance(left, Mapping) and left.get("assertions")):
        raise VerifierError(
            "the task does not say how its world is to be left",
            where=task.task_id,
            got=left,
            wanted=f"private.data[{KEY!r}]: a digest or assertions",
        )
    why = state_differs(task, left, evidence)
    told = f"the answer is {'right' if is_right else 'wrong'}; the world {why or 'is as it should be'}"
    components = {"answer": float(is_right), "state": float(not why)}
    return Score(float(is_right and not why), components, told)


def check_by_code(task: Task, answer: str, evidence: Mapping[str, Any] | None = None) -> Score:
    """1 where the task's own verifier accepts the answer and the changes, in the sandbox; else 0.

    It is private `verifier`, the source of `verify(answer, expected, changes)`; any exception in it is a refusal.
    """
    from evolvent.envs.sandbox.choose import best

    source = private(task).data.get("verifier")
    if not isinstance(source, str) or not evidence or "changes" not in evidence:
        raise VerifierError(
            "the task cannot be judged by code",
            where=task.task_id,
            got=f"verifier: {type(source).__name__}, evidence: {sorted(evidence or {})}",
            wanted="private.data['verifier'], and changes in Episode.info",
        )
    if not answer.strip():
        return Score(0.0, {"verifier": 0.0}, "no answer was given")
    expected = json.loads(private(task).answer)
    given = _given(answer, expected)
    ran = run_verifier(best(), source, given, expected, evidence["changes"])
    if ran.ended not in (Ended.OK, Ended.FAILED):
        raise VerifierError("a task's verifier hit a limit", where=task.task_id, got=ran.fault)
    is_right = not ran.fault and not ran.value
    return Score(float(is_right), {"verifier": float(is_right)}, ran.fault or ran.value or "accepted")


def answer_is_right(wanted: str, answer: str, tolerance: float = TOLERANCE) -> bool:
    """Whether an answer gives what is wanted: every field of a JSON object and no other, or one value."""
    if not answer.strip():
        return False
    try:
        value = json.loads(wanted)
    except ValueError:
        value = wanted
    if isinstance(value, Mapping):
        given = read_fields(answer, tuple(value))
        is_whole = set(given.values) == set(value) and not given.others
        return is_whole and all(same_value(v, given.values[name], tolerance) for name, v in value.items())
    given = read_fields(answer, ("answer",))
    return "answer" in given.values and not given.others and same_value(value, given.values["answer"], tolerance)


def state_differs(task: Task, left: str | Mapping[str, Any], evidence: Mapping[str, Any] | None) -> str:
    """In what the world differs from how it should have been left, in words; empty where in nothing."""
    if not evidence or "state" not in evidence:
        raise VerifierError(
            "nobody wrote down how the world was left",
            where=task.task_id,
            got=sorted(evidence or {}),
            wanted="state and changes in Episode.info",
            cure="play the task in a world that has evidence()",
        )
    if isinstance(left, str):
        changed = ", ".join(evidence.get("changes", {})) or "nothing"
        return "" if evidence["state"] == left else f"has other rows than it should (changed: {changed})"
    for assertion in left["assertions"]:
        if not holds(task, assertion, evidence["changes"]):
            return f"fails {json.dumps(dict(assertion), sort_keys=True)}"
    if left.get("only") and (odd := set(evidence["changes"]) - {a["table"] for a in left["assertions"]}):
        return f"was changed where it should not be: {', '.join(sorted(odd))}"
    return ""


def holds(task: Task, assertion: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether `num` rows of a table that are "new" or "gone" have these values, as {"table", "side", "row", "num"}."""
    table = world_of(task).table(str(assertion["table"]))
    names = [column.name for column in table.columns]
    rows: Sequence[Sequence[Any]] = changes.get(table.name, {}).get(assertion["side"], ())
    wanted = dict(assertion.get("row", {}))
    odd = sorted(set(wanted) - set(names))
    if odd:
        raise VerifierError("an assertion names no column", where=task.task_id, got=odd[0], wanted=", ".join(names))
    found = sum(all(row[names.index(name)] == value for name, value in wanted.items()) for row in rows)
    return found == int(assertion.get("num", 1))


def _given(answer: str, expected: Any) -> Any:
    """An answer as a verifier sees it: the fields of an object by name, else one value, else the words."""
    names = tuple(expected) if isinstance(expected, Mapping) else ("answer",)
    found = read_fields(answer, names).values
    return dict(found) if isinstance(expected, Mapping) and found else found.get("answer", answer)
