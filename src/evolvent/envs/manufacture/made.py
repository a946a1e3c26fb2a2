"""What every manufacturer of worlds gives: a world that passed the gate, and the count of all that did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from evolvent.envs.databases import Database
from evolvent.envs.manufacture.cases import Case
from evolvent.envs.manufacture.gates import Gated, gate
from evolvent.envs.manufacture.mutants import plant
from evolvent.envs.manufacture.oracle import write_cases
from evolvent.envs.manufacture.parametric import STRUCTURES, manufacture
from evolvent.seeds import derive


@dataclass(frozen=True)
class Made:
    """A world with the tests that let it through (None: nothing was left), and counts by stage, in order."""

    database: Database | None
    cases: tuple[Case, ...] = ()
    funnel: Mapping[str, int] = field(default_factory=dict)
    why: str = ""


@runtime_checkable
class Manufacturer(Protocol):
    """Makes worlds by number, each the same again; `describe` says for a card how."""

    def make(self, number: int) -> Made:
        """World `number`, or why there is none."""
        ...

    def describe(self) -> Mapping[str, object]:
        """What decides the worlds, as JSON values."""
        ...


@dataclass(frozen=True)
class Parametric:
    """Worlds of random schemas, the structure classes in turn; tests come from the oracle over the rows.

    `mutant_frac` of their tools are made wrong first, which only an experiment wants.
    """

    seed: int = 0
    structures: tuple[str, ...] = STRUCTURES
    level: int = 1
    mutant_frac: float = 0.0

    def make(self, number: int) -> Made:
        """World `number`."""
        structure = self.structures[number % len(self.structures)]
        database = manufacture(derive(self.seed, "corpus", number) % 2**48, structure, self.level)
        cases = write_cases(database, self.seed)
        if self.mutant_frac:
            database = plant(database, self.seed, self.mutant_frac).database
        return through_gate(database, cases, {"worlds begun": 1, "tools written": len(database.tools)})

    def describe(self) -> Mapping[str, object]:
        """Seed, classes and level."""
        return {
            "maker": "parametric",
            "seed": self.seed,
            "structures": list(self.structures),
            "level": self.level,
            "mutant_frac": self.mutant_frac,
        }


def through_gate(database: Database, cases: tuple[Case, ...], funnel: Mapping[str, int]) -> Made:
    """The world as the tool gate leaves it, with its counts added to those so far."""
    found = gate(database, cases)
    counts = dict(funnel) | {f"tools dropped, {why}": num for why, num in found.reasons.items()}
    return finish(found, cases, counts)


def finish(found: Gated, cases: tuple[Case, ...], counts: Mapping[str, int]) -> Made:
    """The last lines of a funnel."""
    kept = found.kept
    counts = {**counts, "tools kept": len(kept.tools) if kept else 0, "worlds kept": int(kept is not None)}
    if kept is None:
        first = found.dropped[0] if found.dropped else None
        return Made(None, (), counts, "no tool passed" + (f"; {first.tool}: {first.why}" if first else ""))
    names = {tool.name for tool in kept.tools}
    return Made(replace(kept), tuple(case for case in cases if case.tool in names), counts)
