"""Picks a few episodes of a run that show what happened, and cuts their turns into tokens that can be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.store.episodes import query
from evolvent.store.run import Run

KINDS = ("right", "wrong", "not judged", "agent failed", "infrastructure failed", "verifier failed")
MAX_TOKENS = 700

Piece = tuple[bytes, bool]
"""The bytes of a token, and whether it is a mark (a special token)."""


@dataclass(frozen=True)
class Token:
    """Words that are shown as one: a token of the policy, or a stretch that somebody else wrote."""

    text: str
    writer: str
    is_mark: bool = False
    credit: float = 0.0
    said: str = ""


@dataclass(frozen=True)
class ShownTurn:
    """One turn, cut up."""

    role: str
    seat: str
    note: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Excerpt:
    """One trace as it is shown."""

    kind: str
    row: Mapping[str, Any]
    turns: tuple[ShownTurn, ...]
    num_left_out: int


def excerpts(run: Run, num_each: int = 5) -> dict[str, list[Excerpt]]:
    """Up to `num_each` traces of each kind of outcome, spread evenly over the run."""
    files = run.episode_files(name="") or run.episode_files()
    if not files:
        return {}
    flat = query(files, "SELECT filename, episode_id, step, outcome, score FROM kept WHERE trace <= 0 ORDER BY ALL")
    chosen = {kind: _spread([r for r in flat if _kind(r) == kind], num_each) for kind in KINDS}
    keys = [(row["filename"], row["episode_id"]) for rows in chosen.values() for row in rows]
    used = sorted({Path(name) for name, _ in keys})
    if not used:
        return {}
    wanted = {episode_id for _, episode_id in keys}
    sql = "SELECT * FROM kept WHERE list_contains(?, episode_id) ORDER BY step, filename, file_row_number"
    rows = [r for r in query(used, sql, sorted(wanted)) if (r["filename"], r["episode_id"]) in set(keys)]
    pieces = read_pieces(run)
    found: dict[str, list[Excerpt]] = {}
    for row in rows:
        kind = next(k for k, some in chosen.items() if any(_is_same(row, one) for one in some))
        found.setdefault(kind, []).append(_excerpt(kind, row, pieces))
    return {kind: found[kind] for kind in KINDS if kind in found}


def read_pieces(run: Run) -> Callable[[int], Piece] | None:
    """What each token id says, read from the `tokenizer.json` of the newest checkpoint; None where there is none."""
    last = run.last_checkpoint()
    found = sorted(last[1].glob("*/tokenizer.json")) if last else []
    if not found:
        return None
    try:
        kept = json.loads(found[0].read_text(encoding="utf-8"))
        vocab = {int(i): str(word) for word, i in kept["model"]["vocab"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None  # a tokenizer of another make: the page shows whole turns instead
    marks = {int(a["id"]): str(a["content"]) for a in kept.get("added_tokens", ())}
    as_bytes = _byte_letters()

    def piece(token: int) -> Piece:
        if token in marks:
            return marks[token].encode(), True
        word = vocab.get(token, f"<{token}>")
        is_bytes = all(c in as_bytes for c in word)
        return (bytes(as_bytes[c] for c in word) if is_bytes else word.encode()), False

    return piece


def _excerpt(kind: str, row: Mapping[str, Any], pieces: Callable[[int], Piece] | None) -> Excerpt:
    turns, start, left_out = [], 0, 0
    for turn in row["turns"]:
        stop = start + len(turn["token_ids"])
        if start >= MAX_TOKENS:
            left_out += stop - start
        else:
            credit = (row["credit"] or [])[start:stop] or [0.0] * (stop - start)
            tokens = _tokens(turn, credit, pieces) if pieces and turn["token_ids"] else _whole(turn, credit)
            turns.append(ShownTurn(turn["role"], turn["seat"], _note(turn), tuple(tokens)))
        start = stop
    return Excerpt(kind, row, tuple(turns), left_out)


def _tokens(turn: Mapping[str, Any], credit: Sequence[float], pieces: Callable[[int], Piece]) -> list[Token]:
    found: list[Token] = []
    others = b""  # bytes that somebody else wrote: a letter may be cut over several tokens
    place = 0
    for token, is_own, worth in zip(turn["token_ids"], turn["mask"], credit, strict=True):
        data, is_mark = pieces(token)
        if not is_own and not is_mark:
            others += data
            continue
        found += _stretch(others, turn["role"])
        others = b""
        if is_own:
            said = f"token {token}, {_logprobs(turn, place)}, credit {worth:+.3f}"
            found.append(Token(_words(data), "policy", is_mark, worth, said))
            place += 1
        else:
            found.append(Token(_words(data), turn["role"], is_mark))
    return found + _stretch(others, turn["role"])


def _stretch(data: bytes, writer: str) -> list[Token]:
    return [Token(_words(data), writer)] if data else []


def _words(data: bytes) -> str:
    return _visible(data.decode("utf-8", errors="backslashreplace"))


def _whole(turn: Mapping[str, Any], credit: Sequence[float]) -> list[Token]:
    """A turn as one piece, where no tokenizer says how to cut it."""
    worth = [c for c, is_own in zip(credit, turn["mask"], strict=True) if is_own]
    is_own = bool(worth) or (turn["role"] == "assistant" and not turn["token_ids"])
    mean = sum(worth) / len(worth) if worth else 0.0
    calls = [b for b in json.loads(turn["message"])["blocks"] if b.get("is", "").endswith(":ToolCall")]
    text = turn["text"] + "".join(f" [calls {b['name']} {b['raw'] or json.dumps(b['arguments'])}]" for b in calls)
    said = f"mean credit {mean:+.3f}" if worth else ""
    return [Token(_visible(text), "policy" if is_own else turn["role"], False, mean, said)]


def _visible(text: str) -> str:
    """Line breaks and tabs with a sign that shows them."""
    return text.replace("\n", "\u23ce\n").replace("\t", "\u21e5\t")


def _logprobs(turn: Mapping[str, Any], place: int) -> str:
    sampled, model = turn["sampled_logprobs"], turn["model_logprobs"]
    if place >= len(sampled) or place >= len(model):
        return "demonstrated"
    return f"log-prob {sampled[place]:.3f} sampled, {model[place]:.3f} model"


def _note(turn: Mapping[str, Any]) -> str:
    num = len(turn["token_ids"])
    parts = [f"{num} token{'s' * (num != 1)}" if num else ""]
    if turn["sampling"] is not None:
        parts += [f"weights {turn['version']}", "cut off" if turn["finish"] == "length" else ""]
    return ", ".join(p for p in parts if p)


def _kind(row: Mapping[str, Any]) -> str:
    if row["outcome"] != "ok":
        return str(row["outcome"])
    if row["score"] is None:
        return "not judged"
    return "right" if row["score"] >= 0.5 else "wrong"


def _spread(rows: Sequence[Mapping[str, Any]], num: int) -> list[Mapping[str, Any]]:
    """`num` of the rows at even distances, the first and the last among them."""
    if len(rows) <= num:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (num - 1))] for i in range(num)] if num > 1 else [rows[-1]]


def _is_same(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(row["filename"] == other["filename"] and row["episode_id"] == other["episode_id"])


def _byte_letters() -> dict[str, int]:
    """The printable letter that byte-level tokenizers write for each byte (the table of GPT-2), inverted."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(hidden)}
