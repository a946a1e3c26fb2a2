# mypy: ignore-errors
"""Runs solve.py on curves that everybody may see, and prints what it reached; the official ones are others."""

import json
import subprocess
import sys
from pathlib import Path

from curves import draw, worth

SEEDS = (1, 2, 3)


def main():
    """Print the metric after a line of dashes."""
    found = [one for seed in SEEDS for one in measure(seed)]
    print("---")
    print(f"@METRIC@: {sum(found) / len(found):.6f}")


def measure(seed):
    """What each answer to the questions of a seed is worth."""
    questions, truth = draw(seed)
    Path("inputs").mkdir(exist_ok=True)
    Path("inputs/questions.json").write_text(json.dumps(questions), "utf-8")
    subprocess.run([sys.executable, "solve.py"], check=True, timeout=10)
    return worth(truth, json.loads(Path("predictions.json").read_text("utf-8")))


if __name__ == "__main__":
    main()
