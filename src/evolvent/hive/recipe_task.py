"""Trains a small agent by a recipe that is data and nothing else, at a fixed price, and measures it on held-out tasks.

The scorer of the shipped task `recipe` calls this. What an artifact wrote is numbers and short names by the time it
gets here: `read_recipe` checks every one against the task's own space, and the names are looked up in tables below.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput
from evolvent.hive.space import read_space
from evolvent.seeds import derive

if TYPE_CHECKING:
    from evolvent.plans import Improve, Phase
    from evolvent.training.losses import PolicyLoss

FAMILY, NUM_LEVELS, NUM_TASKS = "chain", 4, 128  # held-out tasks of each level
COLD_LEVELS, DIRECT_FRAC = 2, 0.5  # what is shown by worked solutions, and how many of them leave the tool out
BUDGET = 18_000  # rows: a demonstration or an attempt each
SAMPLE_ROWS = 48  # words are sampled one after the other, however few attempts are sampled side by side
UPDATE_ROWS = 24  # an update takes as long as so many rows more than it has (8 rows 0.05 s, 96 rows 0.14 s)
ROW_TOKENS = 24  # as many as an attempt may write on average; a short one that calls its tool has 13
NUM_EXAMPLES = 3  # of each level, shown to the artifact
NEVER = 1 << 30  # steps

Recipe = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Course:
    """What the budget buys: steps of imitation, steps of practice, and the tokens at which practice ends at last."""

    cold_steps: int
    steps: int
    max_tokens: int


def measure_recipe(recipe: Recipe, seed: int, *, budget: int = BUDGET, num_tasks: int = NUM_TASKS) -> list[float]:
    """Accuracy at each level of held-out tasks of an agent that was trained from nothing by this recipe."""
    from evolvent import tasks
    from evolvent.codec import to_json
    from evolvent.effects.arms import bare, build_policies
    from evolvent.evals.measure import Suite, View, hold_out, measure
    from evolvent.loop import improve
    from evolvent.records import Sampling
    from evolvent.rewards import lift
    from evolvent.rollouts.play import Stage
    from evolvent.store import Run

    plan = bare(plan_of(recipe, seed, budget))
    policies = build_policies(plan)
    with tempfile.TemporaryDirectory(prefix="evolvent-recipe-", dir=Path.cwd()) as folder:
        improve(plan, policies, Run.create(to_json(plan), plan.recipe, plan.seed, Path(folder) / "run"))
    suite = Suite(num_tasks=num_tasks, num_tasks_above=num_tasks, num_levels=NUM_LEVELS)
    how = Sampling(plan.budgets.turn_tokens, plan.temperature, seed=derive(plan.seed, "hive", "measure") >> 1)
    stage = Stage(
        world=plan.world, policies=policies, seats=plan.seats, budgets=plan.budgets, workflow=plan.workflow, how=how
    )
    held_out = hold_out(suite, tasks.source(FAMILY, plan.seed))
    report, _ = measure(held_out, stage, lift(plan.reward), step=0, view=View("heldout"))
    return [statistics.fmean(cell.scores) for cell in report.cells]


def read_recipe(words: Any, space: bytes) -> dict[str, Any]:
    """The recipe that this is; BadInput where a key is missing or strange, or a value is not in the space."""
    return dict(read_space(space, "space.json").check(words, "recipe"))


def spend(recipe: Recipe, budget: int = BUDGET) -> Course:
    """How many steps of each kind the budget pays for: a larger step is a dearer one."""
    for_cold = recipe["cold_share"] * budget
    rows = recipe["tasks"] * recipe["group"]
    cold_steps = int(for_cold / (recipe["cold_batch"] + UPDATE_ROWS))
    steps = int((budget - for_cold) / (rows + SAMPLE_ROWS + UPDATE_ROWS * recipe["updates"]))
    if min(cold_steps, steps) < 1:
        raise BadInput(
            "the budget does not pay for one step of each kind",
            where="recipe",
            got=f"{cold_steps} of imitation and {steps} of practice",
            wanted=f"at least 1 each of {budget} rows",
            cure="another cold_share, or fewer tasks or attempts a step",
        )
    return Course(cold_steps, steps, steps * rows * ROW_TOKENS)


def pose_tasks(seed: int) -> dict[str, Any]:
    """What a recipe may know before it is tried: the budget, and a few tasks of this seed that it would train on."""
    from evolvent import tasks

    source = tasks.source(FAMILY, run_seed(seed))
    shown = []
    for level in range(1, NUM_LEVELS + 1):
        for index in range(NUM_EXAMPLES):
            task = source.task(FAMILY, level, index, "train")
            assert task.private is not None, task.task_id
            shown.append({"level": level, "question": task.question, "answer": task.private.answer})
    prices = {"sample_rows": SAMPLE_ROWS, "update_rows": UPDATE_ROWS, "row_tokens": ROW_TOKENS}
    return {"budget": BUDGET, **prices, "examples": shown}


def run_seed(seed: int) -> int:
    """The seed of everything that is drawn for a seed of the task: weights, tasks, attempts."""
    return derive(seed, "hive", "recipe") >> 1


def plan_of(recipe: Recipe, seed: int, budget: int = BUDGET) -> Improve:
    """The whole run that a recipe asks for, as a plan."""
    from evolvent.curriculum import Frontier
    from evolvent.evals.measure import Suite
    from evolvent.plans import Improve
    from evolvent.rollouts.seat import Budgets
    from evolvent.training.optim import AdamW, Schedule

    course = spend(recipe, budget)
    num_updates = course.steps * recipe["updates"]
    return Improve(
        recipe="recipe",
        source=FAMILY,
        cold_start=_cold_start(recipe, course),
        curriculum=Frontier(start_levels=recipe["start_levels"], raise_above=recipe["raise_above"]),
        advantage=_advantages()[recipe["advantage"]],
        loss=_loss(recipe),
        optimizer=AdamW(lr=recipe["rate"], schedule=Schedule(decay_steps=num_updates * recipe["decay"])),
        num_steps=course.steps,
        tasks_per_step=recipe["tasks"],
        group_size=recipe["group"],
        updates_per_batch=recipe["updates"],
        max_tokens=course.max_tokens,
        budgets=Budgets(turn_tokens=40, context_tokens=256, episode_tokens=64),
        # measured once, at the end and by us; the loop cannot be told to measure nothing
        suite=Suite(num_tasks=16, num_tasks_during=16, num_levels=1, best_of=1),
        eval_every=NEVER,
        seed=run_seed(seed),
        num_threads=1,
    )


def _cold_start(recipe: Recipe, course: Course) -> Phase:
    from evolvent.plans import cold_start
    from evolvent.training.losses import Likelihood, token_mean
    from evolvent.training.optim import AdamW, Muon, Schedule

    return cold_start(
        course.cold_steps,
        Muon(lr=recipe["cold_rate"], rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
        Likelihood(token_mean),
        levels=COLD_LEVELS,
        direct_frac=DIRECT_FRAC,
        batch=recipe["cold_batch"],
    )


def _advantages() -> dict[str, Any]:
    from evolvent.credit.advantage import Centred, LeaveOneOut, MeanNormalised, Standardized

    return {
        "standardized": Standardized(ddof=1, eps=1e-4),
        "centred": Centred(),
        "leave-one-out": LeaveOneOut(),
        "mean-normalised": MeanNormalised(),
    }


def _loss(recipe: Recipe) -> PolicyLoss:
    from evolvent.training.losses import Clip, PolicyLoss, per_sequence, per_token, sequence_mean, token_mean

    return PolicyLoss(
        ratio={"token": per_token, "sequence": per_sequence}[recipe["ratio"]],
        gain=Clip(recipe["clip_low"], recipe["clip_high"]),
        reduce={"token": token_mean, "sequence": sequence_mean}[recipe["reduce"]],
    )
