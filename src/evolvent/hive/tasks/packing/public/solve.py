# mypy: ignore-errors
"""Packs by next fit: each item, as it comes, goes into the bin that was begun last, or begins a new one."""

import json
from pathlib import Path


def pack(capacity, items):
    """The number of the bin of each item."""
    bins, last, room = [], 0, capacity
    for size in items:
        if size > room:
            last, room = last + 1, capacity
        room -= size
        bins.append(last)
    return bins


def main():
    """Read the instances, write the bins."""
    instances = json.loads(Path("inputs/instances.json").read_text("utf-8"))
    answers = [pack(one["capacity"], one["items"]) for one in instances]
    Path("predictions.json").write_text(json.dumps(answers), "utf-8")


if __name__ == "__main__":
    main()
