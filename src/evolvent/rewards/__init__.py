"""Judges: what turns episodes into scores."""

from evolvent.rewards.by_task import Checked, by_task, judge_episodes, lift
from evolvent.rewards.judge import Check, Judge
from evolvent.rewards.mix import Mix
from evolvent.rewards.rescore import Change, rescore
from evolvent.rewards.shuffled import Shuffled, shuffled, training_scores
from evolvent.rewards.symbolic import antiderivative, equivalent
from evolvent.rewards.verify import exact, format_matches, numeric, program_output

__all__ = [
    "Change",
    "Check",
    "Checked",
    "Judge",
    "Mix",
    "Shuffled",
    "antiderivative",
    "by_task",
    "equivalent",
    "exact",
    "format_matches",
    "judge_episodes",
    "lift",
    "numeric",
    "program_output",
    "rescore",
    "shuffled",
    "training_scores",
]
