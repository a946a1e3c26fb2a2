"""From what two arms did on the same tasks, seed by seed, to a claim: the difference, its interval, whether it holds.

S seeds, N outcomes of one seed (one per held-out task, or per group, proposal or step), R resamples
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evolvent.errors import BadInput
from evolvent.seeds import derive

Kind = Literal["greater", "less", "equal"]
KINDS = ("greater", "less", "equal")
VERDICTS = ("shown", "not shown", "unstable")
MIN_TASKS = 256  # held-out tasks a seed: +- 0.06 on a share
NUM_RESAMPLES = 4000
MAX_DRAWS = 1 << 20  # held at once, which bounds memory where outcomes are many


@dataclass(frozen=True, slots=True)
class Spent:
    """What an arm cost: tokens sampled, updates, seconds, and what its cold start took when that was made."""

    tokens: int = 0
    updates: int = 0
    seconds: float = 0.0
    cached_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What one seed says about a claim: the outcomes of both arms, and what each arm cost.

    Outcome i of both arms belongs to the same `unit` where `is_paired`. The claim is about treated minus control: it
    is `greater` or `less` than 0, or `equal` to 0 within a `tolerance` that was fixed beforehand. Updates must be the
    same in both arms; tokens that differ by more than the share `token_tolerance` of the larger are told.
    """

    claim: str
    kind: Kind
    metric: str
    treated: tuple[float, ...]
    control: tuple[float, ...]
    spent: Spent = Spent()
    spent_control: Spent = Spent()
    unit: str = "task"
    is_paired: bool = True
    tolerance: float | None = None
    token_tolerance: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput("no such kind of claim", where=self.claim, got=self.kind, wanted=" | ".join(KINDS))
        if (self.kind == "equal") != (self.tolerance is not None):
            raise BadInput(
                "a claim of equality needs a tolerance, and no other has one",
                where=self.claim,
                got=f"{self.kind}, tolerance={self.tolerance}",
                cure='kind="equal", tolerance=0.02, fixed before anything is measured',
            )
        _check_outcomes(self)


@dataclass(frozen=True, slots=True)
class Contrast:
    """A claim and what several seeds say about it; `alone` tells of each seed whether it shows the claim by itself."""

    claim: str
    kind: Kind
    metric: str
    treated: float
    control: float
    difference: float
    low: float
    high: float
    ok: bool
    per_seed: tuple[float, ...]
    alone: tuple[bool, ...]
    tolerance: float | None = None
    note: str = ""


def contrast(observed: Sequence[Observation], seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> Contrast:
    """One claim over its seeds: `ok` where the interval and every seed lie on the promised side, at equal updates."""
    first = _common(observed)
    per_seed = tuple(float(np.mean(o.treated) - np.mean(o.control)) for o in observed)
    low, high = interval(observed, seed, num_resamples)
    alone = tuple(holds(first, *interval([o], seed, num_resamples)) for o in observed)
    same_updates = all(o.spent.updates == o.spent_control.updates for o in observed)
    return Contrast(
        claim=first.claim,
        kind=first.kind,
        metric=first.metric,
        treated=float(np.mean([np.mean(o.treated) for o in observed])),
        control=float(np.mean([np.mean(o.control) for o in observed])),
        difference=float(np.mean(per_seed)),
        low=low,
        high=high,
        ok=same_updates and holds(first, low, high) and all(holds(first, d, d) for d in per_seed),
        per_seed=per_seed,
        alone=alone,
        tolerance=first.tolerance,
        note="; ".join(dict.fromkeys(told for o in observed if (told := tell_budget(o)))),
    )


def interval(observed: Sequence[Observation], seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> tuple[float, float]:
    """95 % of treated minus control: resamples of seeds, and within each of them of its units.

    Resampling S seeds understates their variance by (S-1)/S, so the deviations between seeds are stretched by
    sqrt(S/(S-1)) (the rescaled bootstrap: Rao and Wu 1988); one seed alone says nothing about others.
    """
    num = len(observed)
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "contrast")))
    gap_S = np.array([np.mean(o.treated) - np.mean(o.control) for o in observed])
    drawn_RS = generator.integers(0, num, size=(num_resamples, num))
    between_R = gap_S[drawn_RS].mean(-1) - gap_S.mean()
    within_RS = np.empty((num_resamples, num))
    for place, one in enumerate(observed):
        chosen_RS = drawn_RS == place
        within_RS[chosen_RS] = _resampled_gaps(one, int(chosen_RS.sum()), generator) - gap_S[place]
    stretch = (num / (num - 1)) ** 0.5 if num > 1 else 1.0
    low, high = np.quantile(gap_S.mean() + stretch * between_R + within_RS.mean(-1), [0.025, 0.975])
    return float(low), float(high)


def holds(claim: Observation | Contrast, low: float, high: float) -> bool:
    """Whether everything from low to high lies where the claim wants it."""
    if claim.kind == "equal":
        assert claim.tolerance is not None
        return -claim.tolerance <= low and high <= claim.tolerance
    return low > 0 if claim.kind == "greater" else high < 0


def verdict(contrasts: Sequence[Contrast]) -> str:
    """`shown`: every claim holds; `unstable`: what fails is shown by some seed alone; `not shown`: by none."""
    failed = [c for c in contrasts if not c.ok]
    if not failed:
        return "shown"
    return "unstable" if all(any(c.alone) for c in failed) else "not shown"


def tell_budget(one: Observation) -> str:
    """What is unlike in the two arms' budgets, in words; empty where they are the same."""
    ours, theirs = one.spent, one.spent_control
    told = []
    if ours.updates != theirs.updates:
        told.append(f"{ours.updates} updates against {theirs.updates}: no claim can be made")
    if abs(ours.tokens - theirs.tokens) > one.token_tolerance * max(ours.tokens, theirs.tokens):
        told.append(f"{ours.tokens:,} tokens against {theirs.tokens:,}")
    return ", ".join(told)


def _resampled_gaps(one: Observation, num: int, generator: np.random.Generator) -> np.ndarray:
    """Mean of treated minus mean of control in `num` resamples of a seed's units, which stay pairs where they are."""
    treated_N, control_N = np.asarray(one.treated, dtype=float), np.asarray(one.control, dtype=float)
    if one.is_paired:
        return _resampled_means(treated_N - control_N, num, generator)
    gaps: np.ndarray = _resampled_means(treated_N, num, generator) - _resampled_means(control_N, num, generator)
    return gaps


def _resampled_means(value_N: np.ndarray, num: int, generator: np.random.Generator) -> np.ndarray:
    means = np.empty(num)
    stride = max(1, MAX_DRAWS // len(value_N))  # the draws do not depend on it
    for start in range(0, num, stride):
        stop = min(start + stride, num)
        means[start:stop] = value_N[generator.integers(0, len(value_N), size=(stop - start, len(value_N)))].mean(-1)
    return means


def _check_outcomes(one: Observation) -> None:
    """Enough finite outcomes on both sides, and pairs where pairs are said."""
    sides = {"treated": one.treated, "control": one.control}
    least = MIN_TASKS if one.unit == "task" else 2
    for name, outcomes in sides.items():
        if len(outcomes) < least:
            raise BadInput(
                f"too few outcomes to tell an effect from chance: {one.claim}",
                where=name,
                got=f"{len(outcomes)} {one.unit}s",
                wanted=f">= {least} a seed",
                cure="suite.num_tasks=512; where an outcome belongs to something else than a task, say unit=",
            )
        if not np.isfinite(outcomes).all():
            raise BadInput("an outcome that is no number", where=f"{one.claim}, {name}", wanted="finite numbers")
    if one.is_paired and len(one.treated) != len(one.control):
        raise BadInput(
            "pairs need the same units on both sides",
            where=one.claim,
            got=f"{len(one.treated)} and {len(one.control)} {one.unit}s",
            cure="cut both to what they share, or is_paired=False",
        )


def _common(observed: Sequence[Observation]) -> Observation:
    """The claim that all seeds are about."""
    if not observed:
        raise BadInput("a contrast of no seeds", wanted="one observation per seed")
    about = {(o.claim, o.kind, o.metric, o.unit, o.is_paired, o.tolerance) for o in observed}
    if len(about) > 1:
        raise BadInput("seeds speak of different claims", got=sorted(map(str, about))[:2], wanted="one claim")
    return observed[0]
