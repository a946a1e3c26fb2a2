"""Slow tools: the same episodes with patience, where whoever has heard its tool speaks, and in step, where all wait.

Sixteen episodes of some turns each; every turn ends with a call whose latency was drawn beforehand, mostly short and
now and then long. Both sides sample the same numbers of tokens and wait for the same calls, which go through a pool.
"""

from __future__ import annotations

import asyncio
import statistics
from functools import partial
from typing import Any

from bench.rows import Row, Side, alone, compared, in_turn

NUM_ROUNDS = 5
SHORT_S, LONG_S, LONG_FRAC = 0.02, 0.5, 0.1
PATIENCE_S = 0.005
NUM_TOKENS = 16  # a turn


def cases(full: bool) -> list[dict[str, Any]]:
    """One and the same shape; the full grid adds more episodes and longer ones."""
    shapes = [(16, 4), (16, 8), (64, 4)] if full else [(16, 4)]
    return [{"threads": 1, "episodes": num, "turns": turns} for num, turns in shapes]


def measure(threads: int, episodes: int, turns: int) -> list[Row]:
    """Play with patience and in step, in turn, and compare episodes per second."""
    from evolvent.rollouts.play import Pace

    paces: dict[str, list[Pace]] = {"patient": [], "in step": []}
    kept: dict[str, Any] = {}
    sides = [
        Side(partial(_side, name, patience_s, episodes, turns, paces, kept))
        for name, patience_s in (("patient", PATIENCE_S), ("in step", None))
    ]
    for side in sides:
        side.run()  # the model is made, and products of its size are met for the first time
    for found in paces.values():
        found.clear()
    rates = in_turn(sides, NUM_ROUNDS).rates
    idle = {name: statistics.median(pace.idle_share for pace in found) for name, found in paces.items()}
    settings = {"threads": threads, "episodes": episodes, "turns": turns,
                "latency s": f"{SHORT_S:g}, {LONG_FRAC:.0%} {LONG_S:g}"}  # fmt: skip
    is_same = len({tuple(said) for said in kept["said"].values()}) == 1
    row = compared("slow tools, with patience against in step", "evolvent in step", (rates[0], rates[1]),
                   unit="episodes/s", same_work=is_same, target=1.0, settings=settings,
                   why="in step every turn lasts as long as its slowest tool")  # fmt: skip
    counts = kept["counts"]
    about = "the share of play in which no policy sampled"
    more = [(f"idle share, {name}", value, "of play", about) for name, value in idle.items()]
    more.append(("a tool call, p99", counts.p99_s, "s", str(counts)))
    shape = {"threads": threads, "episodes": episodes, "turns": turns}
    return [row, *(alone(n, v, unit, same_work=is_same, target=None, why=why, **shape) for n, v, unit, why in more)]


def _side(
    name: str, patience_s: float | None, episodes: int, turns: int, paces: dict[str, list[Any]], kept: dict[str, Any]
) -> float:
    """Play all episodes once; returns how many there were."""
    from dataclasses import replace

    from evolvent.rollouts.play import Attempt, Pace, play
    from evolvent.tasks import source

    chain = source("chain", 0)
    stage, pool = _stage(kept, turns)
    pace = Pace()
    attempts = [Attempt(chain.task("chain", 1, i), 0) for i in range(episodes)]
    played = play(attempts, replace(stage, patience_s=patience_s, pace=pace))
    paces[name].append(pace)
    kept["counts"] = pool.counts
    kept.setdefault("said", {})[name] = [len(e.traces[0].turns) for e in played]
    return float(len(played))


def _stage(kept: dict[str, Any], turns: int) -> tuple[Any, Any]:
    """A small model of random weights, and a world whose tool takes its time; made once a process."""
    if "stage" not in kept:
        from evolvent.envs import Toolbox
        from evolvent.envs.pool import Pooled
        from evolvent.models import ModelSpec
        from evolvent.policies.build import build_policy
        from evolvent.records import Sampling
        from evolvent.rollouts.play import Stage
        from evolvent.rollouts.seat import Budgets

        pool = Pooled(Toolbox((lookup,), max_calls=99), max_concurrent=64)
        policies = {"agent": build_policy(ModelSpec(depth=3), name="agent", seed=0)}
        budgets = Budgets(NUM_TOKENS, 512, 512)
        how = Sampling(NUM_TOKENS)
        stage = Stage(Errands(turns), pool, policies, {"agent": "agent"}, how, budgets)
        kept["stage"] = stage, pool
    stage, pool = kept["stage"]
    return stage, pool


async def lookup(seconds: float) -> str:
    """Something that takes a while."""
    await asyncio.sleep(seconds)
    return "found"


class Errands:
    """Speak, call, hear, and again; what is called for was drawn, so that both sides wait for the same."""

    def __init__(self, turns: int) -> None:
        self.turns = turns

    async def __call__(self, task: Any, team: Any, world: Any) -> Any:
        """Play one episode."""
        from evolvent.records import ToolCall, said
        from evolvent.rollouts.workflows import Answer
        from evolvent.seeds import stream

        heard = task.prompt
        for turn in range(self.turns):
            await team["agent"].say(*heard, max_tokens=NUM_TOKENS - 1)  # its own limit is no cut
            is_long = stream(0, "latency", task.task_id, turn).random() < LONG_FRAC
            result = await world.call("agent", ToolCall("lookup", {"seconds": LONG_S if is_long else SHORT_S}))
            heard = (said("user", result.text),)
        return Answer("done")
