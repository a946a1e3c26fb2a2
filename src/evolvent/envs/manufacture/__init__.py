"""Makes whole worlds: from random schemas without a model, or written by one; both meet the same gate of tools."""

from __future__ import annotations

from evolvent.envs.manufacture.cases import Case, Query, fault_of
from evolvent.envs.manufacture.gates import Dropped, Gated, gate, tool_accuracy
from evolvent.envs.manufacture.made import Made, Manufacturer, Parametric
from evolvent.envs.manufacture.parametric import SIZES, STRUCTURES, manufacture
from evolvent.envs.manufacture.written import Written

__all__ = [
    "SIZES",
    "STRUCTURES",
    "Case",
    "Dropped",
    "Gated",
    "Made",
    "Manufacturer",
    "Parametric",
    "Query",
    "Written",
    "fault_of",
    "gate",
    "manufacture",
    "tool_accuracy",
]
