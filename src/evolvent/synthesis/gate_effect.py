"""Plants corrupted tasks and measures what the solvability gate leaves of them, with a solver that slips."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evolvent.envs.databases import Databases, OpenDatabase, world_of
from evolvent.evals.contrast import Observation
from evolvent.policies.policy import Policy
from evolvent.records import Completion, Finish, Message, Prompt, Sampling, Task, ToolCall, said
from evolvent.rollouts.play import Stage
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import ToolLoop
from evolvent.seeds import stream
from evolvent.synthesis.solvable import TWO_OF_FIVE, Gate, Tally, keep_agreed, keep_solvable, tally
from evolvent.synthesis.world_tasks import WorldTasks

CORRUPTED_FRAC = 0.3
NUM_TASKS = 512
ERROR_FRAC = 0.15  # of steps
LABELS, AGREEMENT = "labels", "agreement"


@dataclass(frozen=True)
class Clumsy:
    """Follows each task's worked solution, and slips at a share of the steps.

    A slip spoils an argument or the answer; who slipped once comes to a wrong answer: of those that tasks of the same
    family have, so that the slips of two runs may agree, and may hit a wrong label.
    """

    solutions: Mapping[str, tuple[Message, ...]]
    answers: Mapping[str, Sequence[str]]
    error_frac: float
    name: str = "clumsy"

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return [self._say(prompt, stream(how.seed, "slip", *prompt.stream)) for prompt in prompts]

    def _say(self, prompt: Prompt, rng: random.Random) -> Completion:
        task_id = str(prompt.stream[0])
        solution = self.solutions[task_id]
        given = [m for m in prompt.messages if m.role == "assistant"]
        message = solution[len(given)]
        has_slipped = any(one != wanted for one, wanted in zip(given, solution, strict=False))
        slips = rng.random() < self.error_frac
        if message.calls and slips:
            message = Message(
                "assistant", tuple(_spoiled(b, rng) if isinstance(b, ToolCall) else b for b in message.blocks)
            )
        elif not message.calls and (slips or has_slipped):
            message = said("assistant", _another(message.text, self.answers[task_id], rng))
        finish = Finish.CALL if message.calls else Finish.STOP
        return Completion((), message.text, (), (), 0, finish, f"{self.name}-{prompt.stream}", message, route=self.name)


@dataclass(frozen=True)
class Passed:
    """By task whether it is corrupted, and by form of the gate the tasks that it keeps."""

    is_corrupted: Mapping[str, bool]
    kept: Mapping[str, frozenset[str]]

    def corrupted_frac(self, form: str) -> float:
        """The share of corrupted tasks among those that a form keeps."""
        return sum(self.is_corrupted[name] for name in self.kept[form]) / max(1, len(self.kept[form]))

    def kept_frac(self, form: str, *, corrupted: bool) -> float:
        """The share of good, or of corrupted, tasks that a form keeps."""
        names = [name for name, is_one in self.is_corrupted.items() if is_one == corrupted]
        return sum(name in self.kept[form] for name in names) / max(1, len(names))


def observe(seed: int, num_tasks: int = NUM_TASKS, error_frac: float = ERROR_FRAC) -> list[Observation]:
    """The gate against no gate on tasks of which 30 % are corrupted: by labels, and by agreement of runs alone."""
    tasks = draw_tasks(seed, num_tasks)
    passed = let_pass(tasks, seed, Clumsy(solutions_of(tasks), answers_of(tasks), error_frac))
    everything = tuple(map(float, passed.is_corrupted.values()))
    by_kind = {c: [n for n, is_one in passed.is_corrupted.items() if is_one == c] for c in (False, True)}
    left = {form: tuple(float(passed.is_corrupted[n]) for n in sorted(kept)) for form, kept in passed.kept.items()}
    good, bad = (tuple(float(n in passed.kept[LABELS]) for n in by_kind[c]) for c in (False, True))
    metric = "share of corrupted tasks"
    return [
        Observation("the gate lowers the share of corrupted tasks", "less", metric, left[LABELS], everything,
                    is_paired=False),
        Observation("the gate keeps more of the good than of the corrupted", "greater", "share kept", good, bad,
                    unit="planted task", is_paired=False),
        Observation("agreement of runs alone does not lower it", "equal", metric, left[AGREEMENT], everything,
                    is_paired=False, tolerance=0.1),
    ]  # fmt: skip


def let_pass(tasks: Sequence[Task], seed: int, policy: Policy, gate: Gate = TWO_OF_FIVE) -> Passed:
    """Corrupts a share of the tasks, lets a policy try them, and says which ones each form of the gate keeps."""
    planted, is_corrupted = plant(tasks, seed)
    tallies: dict[str, Tally] = {one.task_id: one for one in tally(planted, stage_of(policy, seed), gate=gate)}
    forms = {LABELS: keep_solvable(planted, tallies, gate), AGREEMENT: keep_agreed(planted, tallies, gate)}
    kept = {form: frozenset(task.task_id for task in screened.kept) for form, screened in forms.items()}
    return Passed(is_corrupted, kept)


def plant(
    tasks: Sequence[Task], seed: int, corrupted_frac: float = CORRUPTED_FRAC
) -> tuple[list[Task], dict[str, bool]]:
    """The tasks, a share of them with the answer of another task or with a state that their solution does not leave."""
    chosen = set(stream(seed, "plant").sample(range(len(tasks)), round(corrupted_frac * len(tasks))))
    planted = [
        _corrupted(t, tasks, stream(seed, "corrupt", t.task_id)) if i in chosen else t for i, t in enumerate(tasks)
    ]
    return planted, {task.task_id: i in chosen for i, task in enumerate(tasks)}


def draw_tasks(seed: int, num_tasks: int) -> list[Task]:
    """Tasks of all structures in turn, in worlds of the first level."""
    source = WorldTasks(seed=seed)
    families = source.families
    return [source.task(families[i % len(families)], 1, i // len(families)) for i in range(num_tasks)]


def stage_of(policy: Policy, seed: int) -> Stage:
    """One agent with tools in the world of its task."""
    budgets = Budgets(turn_tokens=256, context_tokens=4096, episode_tokens=2048)
    how = Sampling(max_tokens=256, seed=seed)
    return Stage(ToolLoop(max_turns=16), Databases(), {policy.name: policy}, {"agent": policy.name}, how, budgets)


def solutions_of(tasks: Sequence[Task]) -> dict[str, tuple[Message, ...]]:
    """The worked solutions by task."""
    return {task.task_id: task.private.solution for task in tasks if task.private is not None}


def answers_of(tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """By task the answers of all tasks of its family, each once."""
    found: dict[str, set[str]] = {}
    for task in tasks:
        if task.private is not None:
            found.setdefault(task.family, set()).add(task.private.answer)
    return {task.task_id: tuple(sorted(found[task.family])) for task in tasks}


def _corrupted(task: Task, tasks: Sequence[Task], rng: random.Random) -> Task:
    assert task.private is not None
    data: dict[str, Any] = dict(task.private.data)
    if rng.random() < 0.5:
        answer = _another(task.private.answer, answers_of(tasks)[task.task_id], rng)
        return replace(task, private=replace(task.private, answer=answer))
    world = OpenDatabase(world_of(task))
    untouched = world.state_digest()
    world.close()
    others = [str(one.private.data["state"]) for one in tasks if one.private is not None]
    is_lost = untouched != data["state"] and rng.random() < 0.5  # a write that was not kept
    data["state"] = untouched if is_lost else _another(str(data["state"]), others, rng)
    return replace(task, private=replace(task.private, data=data))


def _another(wanted: str, others: Sequence[str], rng: random.Random) -> str:
    return rng.choice([one for one in others if one != wanted] or [wanted + "?"])


def _spoiled(call: ToolCall, rng: random.Random) -> ToolCall:
    arguments = dict(call.arguments or {})
    name = rng.choice(list(arguments))
    value = arguments[name]
    arguments[name] = value + 1 if isinstance(value, int | float) else f"{value}{rng.choice('abc')}"
    return ToolCall(call.name, arguments, json.dumps(arguments))
