# mypy: ignore-errors
"""Poses questions of a seed, and scores right answers by the time that they took beside the baseline's."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "public" / "eval"))  # the hub's own copy, not an agent's

from questions import answers, draw
from scoring import Invalid, read_json


def pose(seed, data):
    """The file that the artifact reads."""
    return {"questions.json": json.dumps(draw(seed)).encode()}


def score(seed, data, predictions, times):
    """Seconds of the baseline over seconds of the artifact, the best of each."""
    right, said = answers(draw(seed)), read_json(predictions)
    if type(said) is not list or len(said) != len(right):
        raise Invalid(f"the predictions must be a list of {len(right)} numbers")
    wrong = [i for i, (a, b) in enumerate(zip(right, said, strict=True)) if type(b) is not int or a != b]
    if wrong:
        raise Invalid(f"{len(wrong)} answers are wrong, the first to query {wrong[0]}")
    return min(times["baseline"]) / min(times["own"])
