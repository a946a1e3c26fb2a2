"""Compares the files of two commits line by line, with bounded work: what agents write may be made to be slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONTEXT = 3
MAX_EDITS = 800  # work grows with their square
MAX_BYTES = 300_000
MAX_ROWS = 1500


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a diff: its numbers on both sides, and a sign: `+`, `-`, ` `, or `@` where lines were left out."""

    sign: str
    text: str
    old: int | None = None
    new: int | None = None


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What became of one file; `note` says why there are no lines, or not all."""

    path: str
    rows: tuple[Row, ...]
    num_added: int
    num_removed: int
    note: str = ""


def compare_files(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[FileDiff]:
    """The files that differ, by path."""
    changed = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    return [_compare(path, old.get(path), new.get(path)) for path in changed]


def edits(old: Sequence[str], new: Sequence[str]) -> list[Row]:
    """The fewest lines out and in (Myers 1986); all out and all in where they are more than 800.

    >>> [row.sign + row.text for row in edits("abc", "axc")]
    [' a', '-b', '+x', ' c']
    """
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    stop = 0
    while stop < min(len(old), len(new)) - start and old[-1 - stop] == new[-1 - stop]:
        stop += 1
    inner_old, inner_new = old[start : len(old) - stop], new[start : len(new) - stop]
    rows = [Row(" ", text) for text in old[:start]]
    rows += _shortest(inner_old, inner_new)
    rows += [Row(" ", text) for text in old[len(old) - stop :]]
    return _number(rows)


def _compare(path: str, old: bytes | None, new: bytes | None) -> FileDiff:
    note = "new file" if old is None else "removed" if new is None else ""
    before, after = old or b"", new or b""
    if max(len(before), len(after)) > MAX_BYTES:
        return FileDiff(path, (), 0, 0, f"{len(before):,} and {len(after):,} bytes: too large to compare here")
    try:
        lines = before.decode("utf-8").splitlines(), after.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return FileDiff(path, (), 0, 0, f"no text: {len(before):,} bytes before, {len(after):,} after")
    if b"\0" in before + after:
        return FileDiff(path, (), 0, 0, f"no text: {len(before):,} bytes before, {len(after):,} after")
    rows = edits(*lines)
    added, removed = (sum(row.sign == sign for row in rows) for sign in "+-")
    shown = _fold(rows)
    if len(shown) > MAX_ROWS:
        note, shown = f"the first {MAX_ROWS:,} of {len(shown):,} lines", shown[:MAX_ROWS]
    return FileDiff(path, tuple(shown), added, removed, note or ("" if added or removed else "only line ends differ"))


def _shortest(old: Sequence[str], new: Sequence[str]) -> list[Row]:
    reach: dict[int, int] = {1: 0}
    trail: list[dict[int, int]] = []
    for num in range(min(len(old) + len(new), MAX_EDITS) + 1):
        trail.append(dict(reach))
        for k in range(-num, num + 1, 2):
            down = k == -num or (k != num and reach[k - 1] < reach[k + 1])
            x = reach[k + 1] if down else reach[k - 1] + 1
            while x < len(old) and x - k < len(new) and old[x] == new[x - k]:
                x += 1
            reach[k] = x
            if x >= len(old) and x - k >= len(new):
                return _walk_back(trail, old, new)
    return [*(Row("-", text) for text in old), *(Row("+", text) for text in new)]


def _walk_back(trail: Sequence[Mapping[int, int]], old: Sequence[str], new: Sequence[str]) -> list[Row]:
    x, y, rows = len(old), len(new), list[Row]()
    for num in range(len(trail) - 1, -1, -1):
        reach, k = trail[num], x - y
        down = k == -num or (k != num and reach[k - 1] < reach[k + 1])
        before = k + 1 if down else k - 1
        x_before = reach[before]
        y_before = x_before - before
        while x > x_before and y > y_before and x and y:
            x, y = x - 1, y - 1
            rows.append(Row(" ", old[x]))
        if num:
            rows.append(Row("+", new[y_before]) if down else Row("-", old[x_before]))
            x, y = x_before, y_before
    return rows[::-1]


def _number(rows: Sequence[Row]) -> list[Row]:
    found, old, new = [], 0, 0
    for row in rows:
        old, new = old + (row.sign != "+"), new + (row.sign != "-")
        found.append(Row(row.sign, row.text, None if row.sign == "+" else old, None if row.sign == "-" else new))
    return found


def _fold(rows: Sequence[Row]) -> list[Row]:
    """Changed lines with three around them; where others were left out, a row that says how many."""
    near = {place + step for place, row in enumerate(rows) if row.sign != " " for step in range(-CONTEXT, CONTEXT + 1)}
    found: list[Row] = []
    skipped = 0
    for place, row in enumerate(rows):
        if place not in near:
            skipped += 1
            continue
        if skipped:
            found.append(Row("@", str(skipped)))
            skipped = 0
        found.append(row)
    return found
