"""Judges: what turns episodes into scores."""

from evolvent.rewards.by_task import Checked, by_task, judge_episodes, lift
from evolvent.rewards.judge import Check, Judge
from evolvent.rewards.verify import exact, format_matches, numeric, program_output

__all__ = [
    "Check",
    "Checked",
    "Judge",
    "by_task",
    "exact",
    "format_matches",
    "judge_episodes",
    "lift",
    "numeric",
    "program_output",
]
