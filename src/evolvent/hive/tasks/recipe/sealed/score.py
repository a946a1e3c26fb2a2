# mypy: ignore-errors
"""Shows some tasks of a seed, then trains by the recipe that came back, here, and measures what was learned."""

import json
import traceback
from pathlib import Path

from scoring import Invalid, read_json

from evolvent.errors import BadInput, GateFailed
from evolvent.hive.recipe_task import measure_recipe, pose_tasks, read_recipe, spend

SPACE = Path(__file__).parents[1] / "public" / "space.json"  # the hub's own copy, not an agent's


def pose(seed, data):
    """The files that the artifact reads."""
    return {"question.json": json.dumps(pose_tasks(seed)).encode()}


def score(seed, data, predictions):
    """The accuracy at each level."""
    try:
        recipe = read_recipe(read_json(predictions), SPACE.read_bytes())
        spend(recipe)
    except BadInput as error:
        raise Invalid(str(error)) from None
    try:
        return measure_recipe(recipe, seed)
    except GateFailed as error:
        raise Invalid(f"training broke off: {error}") from None
    except Exception:
        traceback.print_exc()
        raise SystemExit("the trainer broke, which is no fault of the recipe") from None
