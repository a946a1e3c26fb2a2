"""The first tasks of every family stay byte-identical.

A change that is meant to move them regenerates the file: python tests/tasks/test_golden_tasks.py
"""

import json
from pathlib import Path

import pytest

from evolvent.codec import encode
from evolvent.tasks import Procedural
from evolvent.tasks.procedural import family_names

GOLDEN = Path(__file__).resolve().parents[1] / "golden/tasks.json"
STORED = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


def drawn(family: str) -> list[str]:
    """Per level the first two training tasks and the first test task, as JSON lines."""
    source = Procedural((family,))
    cells = [(level, split, index) for level in source.levels(family) for split, index in (("train", 0), ("train", 1))]
    cells += [(level, "test", 0) for level in source.levels(family)]
    return [json.dumps(encode(source.task(family, level, index, split))) for level, split, index in cells]


@pytest.mark.parametrize("family", sorted(STORED))
def test_the_first_tasks_of_a_family_stay_byte_identical(family):
    assert drawn(family) == STORED[family]


def test_no_family_disappears():
    assert len(STORED) >= 10
    assert set(STORED) <= set(family_names())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({family: drawn(family) for family in family_names()}, indent=1) + "\n")
