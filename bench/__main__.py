"""`python -m bench NAME ... [full=true] [--json]`: every case of a benchmark in a process of its own, one table."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NAMES = ("sampling", "packing", "startup", "store")
HOME = Path(__file__).resolve().parent
COLUMNS = (
    "row",
    "peer",
    "settings",
    "ours",
    "theirs",
    "unit",
    "ratio",
    "spread",
    "target",
    "of the limit",
    "same work",
)


def main(words: list[str]) -> int:
    """Run what was asked for; finished cases are kept, so that a full grid can go on after a stop."""
    names = [w for w in words if "=" not in w and not w.startswith("-")] or list(NAMES)
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"no benchmark {unknown[0]!r}; one of: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    full = "full=true" in words
    rows: list[dict[str, Any]] = []
    for name in names:
        kept = HOME / "results" / f"{name}{'-full' if full else ''}.jsonl"
        kept.parent.mkdir(exist_ok=True)
        done = _done(kept) if full else {}
        if not full:
            kept.unlink(missing_ok=True)
        for case in importlib.import_module(f"bench.{name}").cases(full):
            key = json.dumps(case, sort_keys=True)
            if key not in done:
                done[key] = _in_own_process(name, case)
                with kept.open("a") as file:
                    file.write(json.dumps({"case": case, "rows": done[key]}) + "\n")
            rows += done[key]
            _print_rows(done[key], file=sys.stderr)
    if "--json" in words:
        print(json.dumps(rows))
    else:
        _print_table(rows)
    return 0


def _done(kept: Path) -> dict[str, list[dict[str, Any]]]:
    lines = kept.read_text().splitlines() if kept.exists() else []
    found = [json.loads(line) for line in lines]
    return {json.dumps(f["case"], sort_keys=True): f["rows"] for f in found}


def _in_own_process(name: str, case: dict[str, Any]) -> list[dict[str, Any]]:
    threads = str(case.get("threads", 1))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
                   "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(HOME.parent)}  # fmt: skip
    made = subprocess.run(
        [sys.executable, "-c", f"from bench.__main__ import work; work({name!r}, {json.dumps(case)!r})"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        print(made.stderr[-2000:], file=sys.stderr)
        raise SystemExit(f"{name} failed on {case}")
    return list(json.loads(made.stdout.splitlines()[-1]))


def work(name: str, case: str) -> None:
    """One case, inside its own process."""
    settings = json.loads(case)
    if "threads" in settings:
        import torch

        torch.set_num_threads(settings["threads"])
    rows = importlib.import_module(f"bench.{name}").measure(**settings)
    print(json.dumps([dataclasses.asdict(row) for row in rows]))


def _print_rows(rows: list[dict[str, Any]], file: Any) -> None:
    for row in rows:
        print("  ".join(_cells(row)), file=file, flush=True)


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(COLUMNS))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    settings = " ".join(f"{k}={v}" for k, v in row["settings"].items())
    spread = "-" if row["low"] is None else f"{row['low']:.2f}..{row['high']:.2f}"
    limit = "-" if row["limit"] is None else f"{100 * row['limit']:.0f} %"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    return (row["row"], row["peer"], settings, number(row["ours"]), number(row["theirs"]), row["unit"], ratio, spread,
            number(row["target"]), limit, "yes" if row["same_work"] else "NO")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
