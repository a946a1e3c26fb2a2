# mypy: ignore-errors
"""Poses questions of a seed, and scores answers to them; runs on the hub alone, and no agent sees it."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "public" / "eval"))  # the hub's own copy, not an agent's

from curves import draw, worth
from scoring import Invalid, read_json


def pose(seed, data):
    """The files that the artifact reads; `data` is the folder sealed/, for whatever you put there."""
    questions, _ = draw(seed)
    return {"questions.json": json.dumps(questions).encode()}


def score(seed, data, predictions):
    """A number, or one for each case; or Invalid, with the reason."""
    _, truth = draw(seed)
    try:
        return worth(truth, read_json(predictions))
    except ValueError as error:
        raise Invalid(str(error)) from None
