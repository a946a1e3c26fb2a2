"""Measures the gate of tools: how many planted mistakes it removes, and how many good tools with them.

`evolvent effect evolvent.synthesis.tool_gate:effect` runs it. Tests are wrong now and then, as tests of models are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolvent.envs.databases import Database
from evolvent.envs.manufacture import STRUCTURES, Case, gate, manufacture
from evolvent.envs.manufacture.cases import NO_TASK
from evolvent.envs.manufacture.mutants import SHARE, Mistake, plant
from evolvent.envs.manufacture.oracle import NUM_CASES, spoil, write_cases
from evolvent.errors import ToolError
from evolvent.evals.contrast import Observation
from evolvent.seeds import derive

TOLERANCE = 0.05  # of good tools, on either side of chance


@dataclass(frozen=True)
class ToolGate:
    """What is measured: so many parametric worlds, how many of their tools and of the tests are made wrong."""

    num_worlds: int = 64
    level: int = 2
    mutant_frac: float = SHARE
    spoilt_frac: float = 0.2


@dataclass(frozen=True)
class Fate:
    """What became of a tool: which mistake was planted in it, if any, and which tests it did not survive."""

    mistake: Mistake | None
    falls_to_others: bool
    falls_to_own: bool


def build() -> ToolGate:
    """The experiment as data."""
    return ToolGate()


def effect(seed: int) -> list[Observation]:
    """Tests by somebody else against the author's own, on the same tools."""
    fates = mutants_effect(seed, build())
    wrong = [fate for fate in fates if fate.mistake is not None]
    good = [fate for fate in fates if fate.mistake is None]
    others_wrong, others_good = _falls(wrong, "falls_to_others"), _falls(good, "falls_to_others")
    return [
        Observation(
            claim="tests that its author did not write remove a wrong tool, the author's own do not",
            kind="greater",
            metric="wrong tools removed",
            treated=others_wrong,
            control=_falls(wrong, "falls_to_own"),
            unit="wrong tool",
        ),
        Observation(
            claim="they remove a good tool less often than a wrong one",
            kind="less",
            metric="tools removed",
            treated=others_good,
            control=others_wrong,
            unit="tool",
            is_paired=False,
        ),
        Observation(
            claim="a good tool is lost as often as its tests must be wrong by chance, and no more",
            kind="equal",
            metric="good tools removed",
            treated=others_good,
            control=(lost_by_chance(build().spoilt_frac),) * len(others_good),
            unit="good tool",
            tolerance=TOLERANCE,
        ),
    ]


def mutants_effect(seed: int, how: ToolGate) -> list[Fate]:
    """The fate of every tool, the structure classes in turn."""
    fates: list[Fate] = []
    for number in range(how.num_worlds):
        structure = STRUCTURES[number % len(STRUCTURES)]
        right = manufacture(derive(seed, "tool gate", number) % 2**48, structure, how.level)
        planted = plant(right, seed, how.mutant_frac)
        cases = write_cases(right, seed)
        others = _fallen(planted.database, spoil(cases, how.spoilt_frac, derive(seed, "others", number)))
        theirs = spoil(as_found(planted.database, cases), how.spoilt_frac, derive(seed, "own", number))
        own = _fallen(planted.database, theirs)
        fates += [Fate(planted.mistakes.get(t.name), t.name in others, t.name in own) for t in right.tools]
    return fates


def lost_by_chance(spoilt_frac: float, num: int = NUM_CASES) -> float:
    """How likely half or more of `num` tests are wrong: 8 tests, each wrong with 0.2, give 0.0563."""
    return sum(
        math.comb(num, k) * spoilt_frac**k * (1 - spoilt_frac) ** (num - k) for k in range(-(-num // 2), num + 1)
    )


def as_found(database: Database, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The same calls by an author who takes what the tools do for what they should do."""
    return tuple(_as_found(database, case) for case in cases)


def _as_found(database: Database, case: Case) -> Case:
    world = database.open(NO_TASK, 0)
    try:
        answer = world.run(case.tool, case.arguments)
        leaves = tuple(replace(query, rows=tuple(world.ask(query.sql))) for query in case.leaves)
        return replace(case, returns=answer, refuses=False, wants_answer=True, leaves=leaves)
    except ToolError:
        return replace(case, returns=None, refuses=True, wants_answer=False, leaves=())
    finally:
        world.close()


def _fallen(database: Database, cases: tuple[Case, ...]) -> set[str]:
    return {dropped.tool for dropped in gate(database, cases).dropped}


def _falls(fates: Sequence[Fate], column: str) -> tuple[float, ...]:
    return tuple(float(getattr(fate, column)) for fate in fates)
