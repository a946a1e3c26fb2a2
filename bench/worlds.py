"""Multi-turn practice in database worlds: episodes and tool calls per second, and who waits for whom.

A model first learns the tasks of one world by heart, uncounted, so that what is played has turns and calls as practice
has them; then whole steps are counted: rollouts with tools, judging, and an update with tool results masked.
"""

from __future__ import annotations

from typing import Any

from bench.inputs import scratch
from bench.rows import Row, alone

NUM_COLD, NUM_STEPS, NUM_WARM = 160, 12, 2


def cases(full: bool) -> list[dict[str, Any]]:
    """Steps of 16 tasks x 8 attempts; the full grid adds more threads."""
    return [{"threads": threads, "tasks": 16, "group": 8} for threads in ((1, 2) if full else (1,))]


def measure(threads: int, tasks: int, group: int) -> list[Row]:
    """Run the plan of agent_world, made small, and read its own timings."""
    lines, timed = _practise(threads, tasks, group)
    steps = [line["step"] for line in lines if line.get("phase") == "practice"][NUM_WARM:]
    seen = [line for line in lines if line["step"] in steps and "num_episodes" in line]
    spent = [line for line in timed if line["step"] in steps]

    def seconds(*names: str) -> float:
        return float(sum(line.get(name, 0.0) for line in spent for name in names))

    episodes, calls = sum(line["num_episodes"] for line in seen), sum(line.get("tool_calls", 0) for line in spent)
    paced = [line for line in spent if "idle_share" in line]
    idle = sum(line["idle_share"] for line in paced) / len(paced)
    more = {
        "threads": threads, "tasks": tasks, "group": group, "steps": len(steps),
        "calls an episode": round(calls / episodes, 2),
        "tool use": round(sum(line["tool_use"] for line in seen) / len(seen), 2),
        "play/update/judge s": "/".join(f"{seconds(name):.1f}" for name in ("play_s", "update_s", "judge_s")),
    }  # fmt: skip
    is_real = calls >= episodes and not any(line["faults"] for line in seen)
    words = "policy and tools take turns in one process: while one works the other waits"
    whole = seconds("play_s", "update_s", "judge_s")
    rows = [
        ("multi-turn step", episodes / whole, "episodes/s", "rollout, judge and update"),
        ("multi-turn play", episodes / seconds("play_s"), "episodes/s", "rollout alone"),
        ("multi-turn play", calls / seconds("play_s"), "tool calls/s", "rollout alone"),
        ("idle share of the policy", idle, "of play", words),
        ("idle share of the tools", 1 - idle, "of play", words),
    ]
    return [alone(n, value, unit, same_work=is_real, target=None, why=why, **more) for n, value, unit, why in rows]


def _practise(threads: int, tasks: int, group: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The metrics and timings of a run; nothing is measured on held-out tasks."""
    from dataclasses import replace

    from evolvent import Run, Suite, improve
    from evolvent.codec import to_json
    from evolvent.curriculum import Uniform
    from evolvent.effects.arms import build_policies
    from evolvent.recipes import agent_world
    from evolvent.synthesis.world_tasks import WorldTasks

    plan = agent_world.build()
    cold = plan.cold_start and replace(plan.cold_start, num_steps=NUM_COLD, tasks_per_step=16)
    plan = replace(
        plan, source=WorldTasks(1, 1, ("two_hop",)), cold_start=cold, curriculum=Uniform(), arena=None, sinks=(),
        num_steps=NUM_STEPS, tasks_per_step=tasks, group_size=group, num_threads=threads, unproven=True,
        eval_every=NUM_STEPS, suite=Suite(num_tasks=1, num_tasks_above=1, num_tasks_during=1, num_levels=1, best_of=1),
    )  # fmt: skip
    run = Run.create(to_json(plan), "bench", 0, scratch() / "run")
    improve(plan, build_policies(plan), run)
    return run.metrics(), run.timings()
