"""Checks an answer by a rubric of data: fields, kinds, ranges and values, and how the world was left, for points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from evolvent.codec import from_json
from evolvent.errors import BadInput, VerifierError
from evolvent.records import Score, Task
from evolvent.rewards.fields import TOLERANCE, Given, fits_kind, read_fields, same_value
from evolvent.rewards.verify import private

TOTAL, PASS_POINTS = 100, 90  # Agent-World, arXiv:2604.18292, released generator
KEY = "rubric"
Kind = Literal["fields", "type", "range", "value", "state", "judged"]
Verdicts = Mapping[str, bool]
NO_VERDICTS: Verdicts = MappingProxyType({})


@dataclass(frozen=True)
class Criterion:
    """One check: `wanted` is a list of names, a kind, a pair (low, high), a value, a digest of state, or words.

    What is "judged" by words needs a policy: see `evolvent.rewards.rubric_judge`. Two of these differ in their field.

    A hard one must be met to pass; one without points is a gate: where it fails nothing else counts.
    """

    kind: Kind
    wanted: Any
    points: int
    field: str = ""
    tolerance: float = TOLERANCE
    is_hard: bool = False

    @property
    def name(self) -> str:
        """What the components of a score call it."""
        return f"{self.kind} of {self.field}" if self.field else self.kind


@dataclass(frozen=True)
class Rubric:
    """Criteria worth 100 points together; an answer passes with `pass_points` and every hard criterion."""

    criteria: tuple[Criterion, ...]
    pass_points: int = PASS_POINTS
    version: int = 1

    def __post_init__(self) -> None:
        points = [criterion.points for criterion in self.criteria]
        if sum(points) != TOTAL or min(points, default=0) < 0:
            raise BadInput("the points of a rubric", got=points, wanted=f">= 0 each, {TOTAL} together")
        names = [criterion.name for criterion in self.criteria]
        if len(set(names)) < len(names):
            raise BadInput("two criteria of a rubric are called alike", got=sorted(names))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that an answer must have."""
        listed = [name for c in self.criteria if c.kind == "fields" for name in c.wanted]
        return tuple(dict.fromkeys([*listed, *(c.field for c in self.criteria if c.field)]))


def average(
    task: Task, answer: str, evidence: Mapping[str, Any] | None = None, verdicts: Verdicts = NO_VERDICTS
) -> Score:
    """The share of the points that an answer earns: with equal points, the share of the criteria that it meets.

    `verdicts` says by name of each criterion that is judged by words whether it is met.
    """
    marks, components = _judge(task, answer, evidence, verdicts)
    return Score(components["points"], components, _why(marks))


def all_pass(task: Task, answer: str, evidence: Mapping[str, Any] | None = None) -> Score:
    """1 where every criterion is met, else 0."""
    marks, components = _judge(task, answer, evidence)
    return Score(components["all met"], components, _why(marks))


def passing(task: Task, answer: str, evidence: Mapping[str, Any] | None = None) -> Score:
    """1 where an answer has the points to pass and meets all hard criteria, else 0."""
    marks, components = _judge(task, answer, evidence)
    return Score(components["passed"], components, _why(marks))


def rubric_for(
    wanted: Mapping[str, Any], *, state: str = "", is_changed: bool = False, tolerance: float = TOLERANCE
) -> Rubric:
    """The rubric of known values: ten points for the form, the rest for the values, each of which is hard.

    A world that must be changed is worth as much as a value; one that must not is a gate.
    """
    names = tuple(wanted)
    num_parts = len(names) + bool(state and is_changed)
    if not num_parts:
        raise BadInput("a rubric needs something to check", got="no field and no change", wanted="at least one")
    form = [Criterion("fields", names, 10)] if names else []
    points = iter(_shares(TOTAL - 10 * len(form), num_parts))
    values = [Criterion("value", wanted[name], next(points), name, tolerance, is_hard=True) for name in names]
    left = [Criterion("state", state, next(points) if is_changed else 0, is_hard=True)] if state else []
    return Rubric((*form, *values, *left))


def rubric_of(task: Task) -> Rubric:
    """The rubric in the private part of a task, kept as JSON text."""
    found = private(task).data.get(KEY)
    rubric = from_json(found) if isinstance(found, str) else found
    if not isinstance(rubric, Rubric):
        raise VerifierError(
            "the task has no rubric", where=task.task_id, wanted=f"to_json(Rubric(...)) in private.data[{KEY!r}]"
        )
    return rubric


@dataclass(frozen=True, slots=True)
class _Mark:
    criterion: Criterion
    is_met: bool


def _judge(
    task: Task, answer: str, evidence: Mapping[str, Any] | None, verdicts: Verdicts = NO_VERDICTS
) -> tuple[list[_Mark], dict[str, float]]:
    rubric = rubric_of(task)
    given = read_fields(answer, rubric.fields)
    is_empty = not answer.strip()
    marks = []
    for criterion in rubric.criteria:
        if criterion.kind == "judged":
            is_met = _verdict(criterion, verdicts, task.task_id)
        else:
            is_met = _is_met(criterion, given, evidence, task.task_id)
        marks.append(_Mark(criterion, is_met and not is_empty))
    is_shut = any(not m.is_met for m in marks if not m.criterion.points)
    points = sum(m.criterion.points for m in marks if m.is_met)
    has_all_hard = all(m.is_met for m in marks if m.criterion.is_hard)
    components = {m.criterion.name: float(m.is_met) for m in marks}
    components["points"] = 0.0 if is_shut else points / TOTAL
    components["passed"] = float(not is_shut and has_all_hard and points >= rubric.pass_points)
    components["all met"] = float(all(m.is_met for m in marks))
    return marks, components


def _is_met(criterion: Criterion, given: Given, evidence: Mapping[str, Any] | None, where: str) -> bool:
    wanted, field = criterion.wanted, criterion.field
    if criterion.kind == "fields":
        return set(given.values) == set(wanted) and not given.others
    if criterion.kind == "state":
        if not evidence or "state" not in evidence:
            raise VerifierError("nobody wrote down how the world was left", where=where, wanted="Episode.info['state']")
        return bool(evidence["state"] == wanted)
    if field not in given.values:
        return False
    value = given.values[field]
    if criterion.kind == "type":
        return fits_kind(wanted, value)
    if criterion.kind == "range":
        low, high = wanted
        return fits_kind("number", value) and same_value(
            (low + high) / 2, value, (high - low) / 2 + criterion.tolerance
        )
    return same_value(wanted, value, criterion.tolerance)


def _verdict(criterion: Criterion, verdicts: Verdicts, where: str) -> bool:
    if criterion.name not in verdicts:
        raise VerifierError(
            "a criterion in words was not judged",
            where=where,
            got=criterion.name,
            cure="judge with evolvent.rewards.rubric_judge:RubricJudge(policy)",
        )
    return verdicts[criterion.name]


def _why(marks: Sequence[_Mark]) -> str:
    missed = [m.criterion.name for m in marks if not m.is_met]
    met = f"{len(marks) - len(missed)} of {len(marks)} criteria met"
    return f"{met}; missed: {', '.join(missed)}" if missed else met


def _shares(total: int, num: int) -> list[int]:
    """Whole numbers as equal as can be."""
    return [total // num + (i < total % num) for i in range(num)]
