"""Finds what an agent cannot do: from judged episodes to ranked weak classes, with guidelines for new tasks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Protocol

import numpy as np

from evolvent.envs.databases.named import KEY
from evolvent.envs.world import WorldPlan
from evolvent.evals import metrics
from evolvent.evals.measure import value_of
from evolvent.evals.mistakes import LACKS, MISTAKES, find_mistakes
from evolvent.records import Episode, Estimate, Task
from evolvent.seeds import derive

ALPHA = 0.05  # chance that any class is called weak where all are alike
NUM_PERMUTATIONS = 4000
NUM_EXAMPLES = 3  # failed episodes named for a class


@dataclass(frozen=True, slots=True)
class Standing:
    """How a class, or one world of it, stands: success with its interval, and mistakes by kind over failed episodes.

    Several kinds may meet in one episode. Episodes that something else broke are left out, and counted.
    """

    family: str
    world: str
    success: Estimate
    num_episodes: int
    num_failed: int
    mistakes: Mapping[str, int]
    num_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Guideline:
    """What new tasks of a class should train: `lack` is one of LACKS, `words` are for their writer.

    An empty `world` means the whole class.
    """

    world: str
    lack: str
    words: str


@dataclass(frozen=True, slots=True)
class Weak:
    """A class that the agent does worse in than in the others; classes of one rank cannot be told apart."""

    family: str
    rank: int
    success: Estimate
    guidelines: tuple[Guideline, ...]
    episode_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a round found: how every class and world stands, lowest first, and which classes are weak, weakest first.

    `weak` is empty where no class differs from the others by more than chance.
    """

    round: int
    step: int
    classes: tuple[Standing, ...]
    worlds: tuple[Standing, ...]
    weak: tuple[Weak, ...]
    author: str = "statistics"

    @property
    def weakest(self) -> tuple[str, ...]:
        """The classes of the first rank: one, or several that are tied."""
        return tuple(one.family for one in self.weak if one.rank == 1)


def tell_rounds(diagnoses: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """Diagnoses as rows for a screen or a page: every class of every round, lowest first."""
    return [{"round": d.round, "step": d.step, "author": d.author, "classes": list(_rows(d))} for d in diagnoses]


def _rows(diagnosis: Diagnosis) -> Iterator[dict[str, Any]]:
    weak = {one.family: one for one in diagnosis.weak}
    for one in diagnosis.classes:
        found = weak.get(one.family)
        is_known = one.num_episodes > 0
        yield {
            "family": one.family,
            "success": one.success.value if is_known else None,
            "low": one.success.low,
            "high": one.success.high,
            "num_failed": one.num_failed,
            "num_episodes": one.num_episodes,
            "mistakes": dict(sorted(one.mistakes.items(), key=lambda item: -item[1])),
            "rank": found.rank if found else None,
            "lack": found.guidelines[0].lack if found else None,
            "guidelines": [g.words for g in found.guidelines] if found else [],
        }


class Diagnose(Protocol):
    """Judged episodes of one round to what is weak; `world` opens the worlds that they were played in."""

    def __call__(self, episodes: Sequence[Episode], *, number: int, step: int, world: WorldPlan) -> Diagnosis:
        """The diagnosis of round `number`."""
        ...


def by_statistics(
    episodes: Sequence[Episode], *, number: int = 1, step: int = 0, world: WorldPlan | None = None
) -> Diagnosis:
    """Counts alone: no model is asked.

    A class is weak where its worlds fare worse than the others' by more than shuffling worlds between classes gives
    (one-sided, with Holm's correction over classes).
    """
    means = _means(episodes)
    classes = sorted((_stand(episodes, family) for family in means), key=_order)
    worlds = [_stand(episodes, family, name) for family, found in means.items() for name in found]
    worths = {family: list(found.values()) for family, found in means.items() if found}
    weak = [one for one in classes if one.family in find_weak(worths)]
    ranked = zip(weak, rank([worths[one.family] for one in weak]), strict=True)
    return Diagnosis(
        round=number,
        step=step,
        classes=tuple(classes),
        worlds=tuple(sorted(worlds, key=_order)),
        weak=tuple(Weak(o.family, r, o.success, (advise(o),), _examples(episodes, o.family)) for o, r in ranked),
    )


def find_weak(worths: Mapping[str, Sequence[float]]) -> set[str]:
    """The classes whose values lie below those of the others, as far as chance can be excluded.

    From the lowest class up, each is held against those that are not weak: several weak ones do not hide each other.
    None is weak that does no worse than the mean of all classes.
    """
    known = {family: values for family, values in worths.items() if values}
    means = {family: fmean(values) for family, values in known.items()}
    weak: set[str] = set()
    for family in sorted(means, key=lambda f: (means[f], f)):
        others = [value for name, values in known.items() if name != family and name not in weak for value in values]
        if not others or means[family] >= fmean(means.values()):
            break
        if chance_below(known[family], others) > ALPHA / (len(known) - len(weak)):
            break
        weak.add(family)
    return weak


def rank(ordered: Sequence[Sequence[float]]) -> list[int]:
    """Ranks of classes in the order of their means: a new one begins where the difference to its first is no chance."""
    ranks: list[int] = []
    first = 0
    for place, values in enumerate(ordered):
        if place and chance_below(ordered[first], values) <= ALPHA:
            first = place
        ranks.append(first + 1)
    return ranks


def chance_below(own: Sequence[float], others: Sequence[float]) -> float:
    """How often values shuffled between both sides put `own` as far below `others` as they are, or further."""
    value_N, num = np.array([*own, *others], dtype=float), len(own)
    generator = np.random.Generator(np.random.Philox(key=derive(0, "diagnosis")))
    shuffled_RN = generator.permuted(np.tile(value_N, (NUM_PERMUTATIONS, 1)), axis=1)
    gap_R = shuffled_RN[:, :num].mean(-1) - shuffled_RN[:, num:].mean(-1)
    gap = value_N[:num].mean() - value_N[num:].mean()
    return float((1 + (gap_R <= gap + 1e-12).sum()) / (1 + NUM_PERMUTATIONS))


def advise(standing: Standing) -> Guideline:
    """The guideline that counts alone can give: the prevailing lack, and how often which mistake was made."""
    sums = {lack: sum(n for kind, n in standing.mistakes.items() if MISTAKES[kind] == lack) for lack in LACKS}
    lack = max(LACKS, key=lambda one: sums[one])  # of equals the first: causes come before what follows from them
    kinds = sorted(standing.mistakes.items(), key=lambda item: (-item[1], item[0]))
    counted = ", ".join(f"{kind} {num}" for kind, num in kinds) or "no mistake"
    words = (
        f"{standing.num_failed} of {standing.num_episodes} attempts failed ({counted}). "
        f"Write tasks of the class {standing.family} that train against {lack}, in worlds that were not seen before."
    )
    return Guideline(standing.world, lack, words)


def shuffle_traces(episodes: Sequence[Episode], rng: random.Random) -> list[Episode]:
    """Every task with what was done at another one, drawn by lot: the control under which no class may stand out."""
    places = list(range(len(episodes)))
    rng.shuffle(places)
    return [replace(episodes[place], task=episode.task) for episode, place in zip(episodes, places, strict=True)]


def world_name(task: Task) -> str:
    """The world that a task names, readably and whatever its skin; a task without one is a world of its own."""
    named = task.private.data.get(KEY) if task.private is not None else None
    if not named:
        return task.task_id
    arguments = ", ".join(
        f"{key}={value}" for key, value in sorted(named.get("arguments", {}).items()) if key != "skin"
    )
    return f"{named['path'].rpartition(':')[2]}({arguments})"


# ---------------------------------------------------------------- counting


def _means(episodes: Sequence[Episode]) -> dict[str, dict[str, float]]:
    """The success of each world of each class; attempts that carry no reward are left out."""
    found: dict[str, dict[str, list[float]]] = {}
    for episode in episodes:
        worlds = found.setdefault(episode.task.family, {})
        if episode.outcome.carries_reward:
            worlds.setdefault(world_name(episode.task), []).append(value_of(episode))
    return {family: {world: fmean(values) for world, values in worlds.items()} for family, worlds in found.items()}


def _stand(episodes: Sequence[Episode], family: str, world: str = "") -> Standing:
    own = [e for e in episodes if e.task.family == family and world in ("", world_name(e.task))]
    judged = [e for e in own if e.outcome.carries_reward]
    failed = [e for e in judged if value_of(e) < 1]
    means = list(_means(judged).get(family, {}).values())  # worlds are the units of a class, attempts those of a world
    values = means if not world and len(means) > 1 else [value_of(e) for e in judged]
    kinds = Counter(kind for e in failed for kind in find_mistakes(e))
    mistakes = {kind: kinds[kind] for kind in MISTAKES if kinds[kind]}
    success = metrics.share(values) if values else metrics.wilson(0, 0)
    return Standing(family, world, success, len(judged), len(failed), mistakes, len(own) - len(judged))


def _order(standing: Standing) -> tuple[bool, float, str, str]:
    unknown = standing.num_episodes == 0
    return unknown, 0.0 if unknown else standing.success.value, standing.family, standing.world


def _examples(episodes: Sequence[Episode], family: str) -> tuple[str, ...]:
    own = [e for e in episodes if e.task.family == family and e.outcome.carries_reward and value_of(e) < 1]
    return tuple(e.episode_id for e in own[:NUM_EXAMPLES])
