"""What the seeds of an effect came to: kept one by one as files, and put together as contrasts with a verdict."""

from __future__ import annotations

import hashlib
import heapq
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evolvent.codec import encode, from_json, to_json
from evolvent.effects.session import Session, session
from evolvent.effects.versions import code_digest, recipe_digest
from evolvent.errors import BadInput
from evolvent.evals.contrast import Contrast, Observation, contrast, verdict
from evolvent.plans import Improve
from evolvent.store import origin, write_text

NUM_CORES = 2  # that seconds are told for, however many processes there were
MIN_SEEDS = 3  # fewer give numbers and no verdict
SHOWN = ("claim", "kind", "treated", "control", "difference", "low", "high", "ok", "per_seed")


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed of a recipe's effect; `seconds` counts cold starts as if all had been made for it."""

    recipe: str
    seed: int
    seconds: float
    cached_s: float
    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """A recipe's effect over its seeds; tokens and updates are those of one treated arm, on average."""

    name: str
    seeds: tuple[int, ...]
    contrasts: tuple[Contrast, ...]
    seconds: float
    tokens: int
    updates: int

    @property
    def verdict(self) -> str:
        """What the seeds say of the claims; nothing where they are too few."""
        return verdict(self.contrasts) if len(self.seeds) >= MIN_SEEDS else ""

    def as_answer(self) -> dict[str, Any]:
        """The effect as the command line prints it: the first contrast, then all."""
        shown = [{key: asdict(one)[key] for key in SHOWN} for one in self.contrasts]
        top = {key: shown[0][key] for key in ("treated", "control", "difference", "low", "high")}
        return {
            "name": self.name,
            **top,
            "sign_ok": all(one.ok for one in self.contrasts),
            "seconds": round(self.seconds, 1),
            "metric": self.contrasts[0].metric,
            "tokens": self.tokens,
            "updates": self.updates,
            "contrasts": shown,
        }

    def as_entry(self) -> dict[str, Any]:
        """The effect as the board keeps it, with the verdict and everything that a reader may ask for."""
        contrasts = [asdict(one) for one in self.contrasts]
        made_with = {"code": code_digest(), "versions": origin.versions()}
        said = {"verdict": self.verdict, "seeds": list(self.seeds)}
        return {**self.as_answer(), **said, **made_with, "contrasts": contrasts}


def measure_seed(recipe: str, effect: Callable[[int], Sequence[Observation]], seed: int, given: Session) -> SeedResult:
    """Run a recipe's effect at one seed."""
    start = time.perf_counter()
    with session(given):
        found = tuple(effect(seed))
    if not found or not all(isinstance(one, Observation) for one in found):
        raise BadInput(
            f"effect({seed}) of {recipe} must say what it observed",
            got=", ".join(type(one).__name__ for one in found) or "nothing",
            wanted="a list of Observation, the main claim first",
        )
    return SeedResult(recipe, seed, time.perf_counter() - start + given.cached_s, given.cached_s, found)


def summarize(results: Sequence[SeedResult]) -> Effect:
    """The contrasts over all seeds of one recipe, in the order in which its effect gives them."""
    results = sorted(results, key=lambda one: one.seed)
    counts = {len(one.observations) for one in results}
    if len(counts) != 1:
        raise BadInput("seeds make different numbers of claims", got=sorted(counts), wanted="the same claims each")
    columns = zip(*(one.observations for one in results), strict=True)
    contrasts = tuple(contrast(column) for column in columns)
    spent = [one.observations[0].spent for one in results]
    return Effect(
        name=results[0].recipe,
        seeds=tuple(one.seed for one in results),
        contrasts=contrasts,
        seconds=makespan([one.seconds for one in results], NUM_CORES),
        tokens=round(fmean(one.tokens for one in spent)),
        updates=round(fmean(one.updates for one in spent)),
    )


def makespan(seconds: Sequence[float], num_processes: int) -> float:
    """When the last of these is over, each begun in turn by the first process that is free."""
    free = [0.0] * num_processes
    for one in seconds:
        heapq.heappush(free, heapq.heappop(free) + one)
    return max(free)


# ---------------------------------------------------------------- files


def key_of(module: str, plan: Improve) -> str:
    """What an experiment depends on, as a name: code, recipe, plan and the versions of what it runs on."""
    about = [code_digest(), recipe_digest(module), encode(plan), origin.versions()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def result_path(home: Path, recipe: str, key: str, seed: int) -> Path:
    """Where the result of a seed is kept."""
    return home / "effects" / f"{recipe}-{key}" / f"seed-{seed}.json"


def keep_result(path: Path, result: SeedResult) -> None:
    """Write a finished seed down."""
    write_text(path, to_json(result) + "\n")


def read_result(path: Path) -> SeedResult | None:
    """A finished seed, or None where it is absent or cannot be read any more."""
    try:
        found = from_json(path.read_text("utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, SeedResult) else None


# ---------------------------------------------------------------- the board


def read_board(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a board by recipe; none where there is no board yet."""
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8"))["effects"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            "the board is broken", where=str(path), got=str(error), cure="restore the file from a copy, or delete it"
        ) from error


def write_board(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """A board with its entries in order."""
    kept = {name: rounded(entries[name]) for name in sorted(entries)}
    write_text(path, json.dumps({"effects": kept}, indent=1, allow_nan=False) + "\n")


def rounded(value: Any) -> Any:
    """Numbers with six digits, which are more than any of them is sure of."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
