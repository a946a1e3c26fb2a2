"""Evolvent trains language-model agents that write their own curriculum."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolvent.credit.batch import Batch
    from evolvent.curriculum import Frontier
    from evolvent.envs import Toolbox, as_tool
    from evolvent.errors import BadInput, EvolventError
    from evolvent.evals.measure import Suite, measure
    from evolvent.loop import improve
    from evolvent.models import ModelSpec
    from evolvent.plans import Card, Improve
    from evolvent.policies import Endpoint, LocalPolicy, Policy
    from evolvent.policies.build import build_policy
    from evolvent.records import (
        Episode,
        Message,
        Private,
        Prompt,
        Reference,
        Report,
        Sampling,
        Score,
        Task,
        Trace,
        said,
    )
    from evolvent.rewards import Judge, Mix, by_task
    from evolvent.rollouts.play import Attempt, Stage, play
    from evolvent.rollouts.seat import Budgets
    from evolvent.rollouts.workflows import Answer
    from evolvent.store import Run
    from evolvent.tasks import Dataset, Source, source

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Attempt",
    "BadInput",
    "Batch",
    "Budgets",
    "Card",
    "Dataset",
    "Endpoint",
    "Episode",
    "EvolventError",
    "Frontier",
    "Improve",
    "Judge",
    "LocalPolicy",
    "Message",
    "Mix",
    "ModelSpec",
    "Policy",
    "Private",
    "Prompt",
    "Reference",
    "Report",
    "Run",
    "Sampling",
    "Score",
    "Source",
    "Stage",
    "Suite",
    "Task",
    "Toolbox",
    "Trace",
    "as_tool",
    "build_policy",
    "by_task",
    "improve",
    "measure",
    "play",
    "said",
    "source",
]

_HOMES = {  # each name comes when it is asked for, so that `import evolvent` costs nothing
    "credit.batch": ("Batch",),
    "curriculum": ("Frontier",),
    "envs": ("Toolbox", "as_tool"),
    "errors": ("BadInput", "EvolventError"),
    "evals.measure": ("Suite", "measure"),
    "loop": ("improve",),
    "models": ("ModelSpec",),
    "plans": ("Card", "Improve"),
    "policies": ("Endpoint", "LocalPolicy", "Policy"),
    "policies.build": ("build_policy",),
    "records": (
        "Episode", "Message", "Private", "Prompt", "Reference",
        "Report", "Sampling", "Score", "Task", "Trace", "said",
    ),
    "rewards": ("Judge", "Mix", "by_task"),
    "rollouts.play": ("Attempt", "Stage", "play"),
    "rollouts.seat": ("Budgets",),
    "rollouts.workflows": ("Answer",),
    "store": ("Run",),
    "tasks": ("Dataset", "Source", "source"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
