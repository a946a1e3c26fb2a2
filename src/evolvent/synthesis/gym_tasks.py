"""Makes tasks of Gymnasium's small tables: a family per environment, levels by size or distance, optimal solutions.

To be played in the world `Gym()`: each task says which environment it is, with which seed and from which start. Maps
and starts decide the split, so that no held-out map or start is ever trained on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.gym import KEY, make
from evolvent.envs.gym_words import ACTIONS, describe, family_of
from evolvent.errors import BadInput, nearest
from evolvent.records import Message, Origin, Private, Reference, Score, Task, ToolCall, said
from evolvent.seeds import derive
from evolvent.tasks.procedural import split_of

PREFIX = "gym:"
TABLES = ("FrozenLake", "Taxi", "CliffWalking")
JUDGE = Reference("evolvent.synthesis.gym_tasks:reached")
MAX_REDRAWS = 200  # of a slippery lake of 6 by 6, held out, about one draw in 16 fits
GAMMA = 0.99
LAKES = ((4, False), (5, False), (6, False), (8, False), (4, True), (6, True))  # size, slippery
STEPS = {"Taxi": (9, 13), "CliffWalking": (5, 9)}  # the longest way of level 1 and 2; level 3 is all that is farther
MAX_STEPS = 100  # the time limit of FrozenLake, the shortest among the tables
RULES = {
    "FrozenLake": "You cross a frozen lake: S start, F frozen, H hole, G goal; you are where [ ] stands. A hole ends "
    "it. Reach G.{slippery}",
    "CliffWalking": "You walk on a grid of 4 rows and 12 columns, row 0 at the top. The last row is a cliff from "
    "column 1 to column 10, and who steps there falls back to row 3, column 0. Reach row 3, column 11.",
    "Taxi": "You drive a taxi on a grid of 5 rows and 5 columns, row 0 at the top. | is a wall between two columns.\n"
    "{map}\nR red, G green, Y yellow, B blue. Pick up the passenger and drop them off where they want to go.",
}
SLIPPERY = " The ice is slippery: two of three moves go off to one side instead."
HOW = "Call act with one of: {names}. When you are there, answer done.\n{seen}"


@dataclass(frozen=True)
class GymTasks:
    """Tasks of tables by id (`FrozenLake-v1`) or by name for the installed version (`Taxi`), under one seed."""

    names: tuple[str, ...] = TABLES
    seed: int = 0
    only_levels: tuple[int, ...] = ()

    @property
    def families(self) -> tuple[str, ...]:
        """The environments on offer, as gym:ID."""
        return tuple(PREFIX + installed(name) for name in self.names)

    def levels(self, family: str) -> tuple[int, ...]:
        """By size, then by slipperiness (FrozenLake), or by the number of steps of the shortest way."""
        table = self._table(family)
        offered = range(1, 1 + (len(LAKES) if table == "FrozenLake" else 3))
        kept = tuple(level for level in offered if not self.only_levels or level in self.only_levels)
        if not kept:
            raise BadInput(f"{family} has none of these levels", got=self.only_levels, wanted=f"1 to {len(offered)}")
        return kept

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """The number of starts where a table is always the same; None for lakes, which never run dry."""
        if self._table(family) not in STEPS:
            return None
        return len(starts_of(family.removeprefix(PREFIX))[level, split])

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell, with the actions of an optimal policy as its solution."""
        if level not in self.levels(family):
            raise BadInput(f"{family} has no level {level}", got=level, wanted=self.levels(family))
        if split not in ("train", "test"):
            raise BadInput(f"no split {split!r}", got=split, wanted="train or test")
        env_id = family.removeprefix(PREFIX)
        for draw in range(MAX_REDRAWS):
            key = derive(self.seed, family, level, split, index, draw) % 2**31
            if found := _drawn(env_id, (level, split, index), key):
                return self._as_task(family, level, index, split, found)
        raise BadInput(f"the cell {family}:{level} is exhausted", where=f"split {split}", got=f"{MAX_REDRAWS} draws")

    def _as_task(self, family: str, level: int, index: int, split: str, found: _Found) -> Task:
        acts = tuple(Message("assistant", (ToolCall("act", {"action": name}),)) for name in found.way)
        return Task(
            task_id=f"gym-{family.removeprefix(PREFIX)}-{level}-{split}-{self.seed}-{index}",
            family=family,
            level=level,
            prompt=(said("user", found.question),),
            private=Private("done", {KEY: found.asked, "num_steps": len(acts)}, (*acts, said("assistant", "done"))),
            judge=JUDGE,
            origin=Origin(family),
            split=split,
        )

    def _table(self, family: str) -> str:
        if family not in self.families:
            raise BadInput(f"no family {family!r} in this source", got=family, cure=nearest(family, [*self.families]))
        return family_of(family.removeprefix(PREFIX))


def reached(task: Task, answer: str, evidence: Mapping[str, Any]) -> Score:
    """1 where the goal was reached, whatever was said; how directly is told beside it."""
    return_, steps = float(evidence.get("return", 0.0)), int(evidence.get("num_steps", 0))
    # only the lake also ends short of its goal, and there the goal alone pays
    there = bool(evidence.get("terminated")) and (
        family_of(task.family.removeprefix(PREFIX)) != "FrozenLake" or return_ > 0
    )
    shortest = int(task.private.data["num_steps"]) if task.private else 0
    directness = min(1.0, shortest / steps) if there and steps else 0.0
    why = f"{'the goal was reached' if there else 'the goal was not reached'} ({steps} steps, return {return_:g})"
    return Score(float(there), {"goal": float(there), "directness": directness}, why)


def installed(name: str) -> str:
    """The id of a table in the installed version of Gymnasium: `Taxi` is Taxi-v3 in some and Taxi-v4 in others."""
    if name not in TABLES:
        if family_of(name) in TABLES:
            return name
        raise BadInput(
            f"no tasks are made of {name!r}",
            where=f"gym:{name}",
            got=name,
            wanted=", ".join(TABLES),
            cure=f"play it without a task: evolvent world play 'evolvent.envs.gym:Gym(\"{name}\")'",
        )
    import gymnasium

    return max(str(found) for found in gymnasium.registry if found.startswith(f"{name}-v"))


@dataclass(frozen=True)
class _Found:
    """A map or start with a way from it to the goal."""

    asked: Mapping[str, Any]
    question: str
    way: tuple[str, ...]


def _drawn(env_id: str, place: tuple[int, str, int], key: int) -> _Found | None:
    """The next start of a table, or the lake that `key` draws where it is of the split and the goal can be reached."""
    (level, split, index), table = place, family_of(env_id)
    asked: dict[str, Any] = {"env_id": env_id, "arguments": {}, "seed": key, "start": None}
    if table == "FrozenLake":
        from gymnasium.envs.toy_text.frozen_lake import generate_random_map

        size, is_slippery = LAKES[level - 1]
        lake = [str(row) for row in generate_random_map(size=size, seed=key)]
        if split_of(PREFIX + table, "/".join(lake)) != split:
            return None
        asked["arguments"] = {"desc": lake, "is_slippery": is_slippery}
    else:
        starts = starts_of(env_id)[level, split]
        asked["start"] = starts[index % len(starts)]
    env = make(env_id, asked["arguments"])
    try:
        best = _policy_of(env_id) if table in STEPS else best_actions(env.unwrapped.P)
        return _asked_with(env, asked, walk(env, best, asked["seed"], asked["start"]))
    finally:
        env.close()


def _asked_with(env: Any, asked: Mapping[str, Any], way: tuple[int, ...]) -> _Found | None:
    if not way:
        return None
    table, inner = family_of(asked["env_id"]), env.unwrapped
    start = env.reset(seed=asked["seed"])[0] if asked["start"] is None else asked["start"]
    city = "\n".join("".join(cell.decode() for cell in row) for row in inner.desc) if table == "Taxi" else ""
    rules = RULES[table].format(slippery=SLIPPERY if asked["arguments"].get("is_slippery") else "", map=city)
    how = HOW.format(names=", ".join(ACTIONS[table]), seen=describe(asked["env_id"], env, start))
    return _Found(asked, f"{rules}\n{how}", tuple(ACTIONS[table][action] for action in way))


def walk(env: Any, best: tuple[int, ...], seed: int, start: int | None) -> tuple[int, ...]:
    """The actions that a policy takes until it is there; none where it does not get there in time."""
    env.reset(seed=seed)
    if start is not None:
        env.unwrapped.s = start
    way: list[int] = []
    while len(way) < MAX_STEPS:
        way.append(best[int(env.unwrapped.s)])
        _, reward, ended, _, _ = env.step(way[-1])
        if ended:
            return tuple(way) if reward > 0 or family_of(env.spec.id) != "FrozenLake" else ()
    return ()


@functools.cache
def starts_of(env_id: str) -> Mapping[tuple[int, str], tuple[int, ...]]:
    """The starts of a table that is the same in every task, by level and split: an eighth of each level is held out."""
    env, best, bounds = make(env_id, {}), _policy_of(env_id), STEPS[family_of(env_id)]
    by_level: dict[int, list[int]] = {}
    for start in range(len(best)):
        if family_of(env_id) == "Taxi" and not env.unwrapped.initial_state_distrib[start]:
            continue
        if num_steps := len(walk(env, best, 0, start)):
            by_level.setdefault(1 + sum(num_steps > bound for bound in bounds), []).append(start)
    env.close()
    found = {}
    for level, starts in by_level.items():
        mixed = sorted(starts, key=lambda start: derive(0, env_id, start))
        num_test = max(1, len(mixed) // 8)
        found[level, "test"], found[level, "train"] = tuple(mixed[:num_test]), tuple(mixed[num_test:])
    return found


@functools.cache
def _policy_of(env_id: str) -> tuple[int, ...]:
    """The best actions of a table that is the same in every task."""
    env = make(env_id, {})
    found = best_actions(env.unwrapped.P)
    env.close()
    return found


def best_actions(transitions: Mapping[int, Mapping[int, Any]]) -> tuple[int, ...]:
    """The best action in each state of {state: {action: [(probability, next, reward, ends)]}}, by value iteration."""
    import numpy as np

    states, actions = len(transitions), len(transitions[0])
    chance, gain = np.zeros((actions, states, states)), np.zeros((actions, states))
    for state, choices in transitions.items():
        for action, outcomes in choices.items():
            for probability, after, reward, ends in outcomes:
                gain[action, state] += probability * reward
                if not ends:
                    chance[action, state, after] += probability
    value = np.zeros(states)
    while True:
        worth = gain + GAMMA * (chance @ value)
        if np.abs(worth.max(0) - value).max() < 1e-9:
            return tuple(int(action) for action in worth.argmax(0))
        value = worth.max(0)
