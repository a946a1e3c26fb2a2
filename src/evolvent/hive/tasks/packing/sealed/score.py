# mypy: ignore-errors
"""Poses instances of a seed, and scores packings of them by the same rules as the public check."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "public" / "eval"))  # the hub's own copy, not an agent's

from instances import draw, fill
from scoring import Invalid, read_json


def pose(seed, data):
    """The files that the artifact reads."""
    return {"instances.json": json.dumps(draw(seed)).encode()}


def score(seed, data, predictions):
    """The fill of each instance."""
    instances, answers = draw(seed), read_json(predictions)
    if type(answers) is not list or len(answers) != len(instances):
        raise Invalid(f"the predictions must be a list of {len(instances)} packings")
    try:
        return [fill(one, bins) for one, bins in zip(instances, answers, strict=True)]
    except ValueError as error:
        raise Invalid(str(error)) from None
