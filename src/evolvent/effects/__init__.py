"""Treated against control, seed by seed: the experiment behind a method's name."""

from evolvent.effects.arms import FIRST_LEVEL, Arm, arm
from evolvent.effects.observe import compare_ends, compare_steps, compare_tasks
from evolvent.evals.contrast import Contrast, Observation, Spent

__all__ = [
    "FIRST_LEVEL",
    "Arm",
    "Contrast",
    "Observation",
    "Spent",
    "arm",
    "compare_ends",
    "compare_steps",
    "compare_tasks",
]
