"""Turns a JSONL, JSON or Parquet file in TRL's column names into tasks.

The plain rule for columns (the first that a row fills counts, in this order):
the prompt is `prompt` or `messages` (a text, or a list of {"role", "content"}), else `question`, `problem`, `input`;
the answer is `answer`, else `solution`, `output` - these two only where they are one line or end in `#### answer`;
`level` (a whole number, or words that end in one), `split` (train or test), `info` and `tools` are optional.
Of an answer with `####` (as in GSM8K) the part after the last one is the answer, and the whole text the solution.
Of a conversation that goes on after its last user message, the assistant's part is the solution.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput
from evolvent.records import Message, Origin, Private, Reference, Task, Text, ToolCall, said
from evolvent.seeds import derive

__all__ = ["SUFFIXES", "Dataset"]

SUFFIXES = (".jsonl", ".json", ".parquet")
PROMPT_COLUMNS = ("prompt", "messages", "question", "problem", "input")
ANSWER_COLUMNS = ("answer", "solution", "output")
WANTED = f"one of {', '.join(PROMPT_COLUMNS)} and one of {', '.join(ANSWER_COLUMNS)}"
NUMBER = re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?|[+-]?[0-9]+/0*[1-9][0-9]*")


@dataclass(frozen=True)
class Dataset:
    """The tasks of one file; rows without a `split` are divided by a hash of the prompt, `test_frac` to the test side.

    `judge` names the check by import path; left empty it is `numeric` where all answers are numbers, else `exact`.
    """

    path: str
    test_frac: float = 0.125
    judge: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.test_frac <= 1.0:
            raise BadInput("test_frac is a share", where="Dataset.test_frac", got=self.test_frac, wanted="0 to 1")

    @property
    def families(self) -> tuple[str, ...]:
        """One family, named after the file."""
        return (Path(self.path).stem,)

    def levels(self, family: str) -> tuple[int, ...]:
        """The levels that stand in the file, lowest first."""
        return tuple(sorted({level for level, _ in self.cells()}))

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many rows a cell holds."""
        return len(self.cells().get((level, split), ()))

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Row `index` of a cell, in the order of the file."""
        rows = self.cells().get((level, split), ())
        if family not in self.families or not 0 <= index < len(rows):
            raise BadInput(
                f"no task {index} in {family}:{level}, split {split}",
                where=self.path,
                got=index,
                wanted=f"family {self.families[0]}, 0 to {len(rows) - 1}" if rows else "a cell with rows",
                cure="cells hold: " + ", ".join(f"{k[0]}/{k[1]} {len(v)}" for k, v in sorted(self.cells().items())),
            )
        row = rows[index]
        return Task(
            task_id=f"{family}-{row.number}",
            family=family,
            level=level,
            prompt=row.prompt,
            private=Private(answer=row.answer, data=row.data, solution=row.solution),
            judge=Reference(self.judge or default_judge(self.path, stamp(self.path))),
            origin=Origin(how=f"dataset:{Path(self.path).name}#{row.number}"),
            split=split,
        )

    def cells(self) -> Mapping[tuple[int, str], tuple[Row, ...]]:
        """The rows by (level, split)."""
        return divide(self.path, stamp(self.path), self.test_frac)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, read; `number` counts from 1, `split` is empty where the file does not say."""

    number: int
    prompt: tuple[Message, ...]
    answer: str
    level: int
    split: str
    data: Mapping[str, Any]
    solution: tuple[Message, ...]


def stamp(path: str) -> tuple[int, int]:
    """What changes when the file does, so that a rewritten file is read again."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise BadInput(
            "the data set cannot be read", where=path, got=str(error), wanted="a file", cure="check the path"
        ) from error
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=8)
def divide(path: str, when: tuple[int, int], test_frac: float) -> Mapping[tuple[int, str], tuple[Row, ...]]:
    """The rows by (level, split); a prompt is never on both sides."""
    cells: dict[tuple[int, str], list[Row]] = {}
    side: dict[str, tuple[str, int]] = {}
    for row in read_file(path, when):
        words = "\n".join(message.text for message in row.prompt)
        split = row.split or ("test" if derive(0, "dataset", words) < test_frac * 2**64 else "train")
        other, number = side.setdefault(words, (split, row.number))
        if other != split:
            raise BadInput(
                "the same prompt is in both splits",
                where=f"{path}, rows {number} and {row.number}",
                got=f"{other} and {split}",
                wanted="training and test prompts that differ",
                cure="remove one of the two rows, or give both the same split",
            )
        cells.setdefault((row.level, split), []).append(row)
    return {cell: tuple(rows) for cell, rows in cells.items()}


@functools.lru_cache(maxsize=8)
def default_judge(path: str, when: tuple[int, int]) -> str:
    """The check that fits the answers of a file."""
    are_numbers = all(NUMBER.fullmatch(row.answer) for row in read_file(path, when))
    return f"evolvent.rewards.verify:{'numeric' if are_numbers else 'exact'}"


@functools.lru_cache(maxsize=4)
def read_file(path: str, when: tuple[int, int]) -> tuple[Row, ...]:
    """All rows of a file, each checked."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInput("unknown kind of data set", where=path, got=suffix or "no ending", wanted=", ".join(SUFFIXES))
    raw = read_parquet(path) if suffix == ".parquet" else read_json(path)
    rows = tuple(read_row(columns, f"{path}, row {number}", number) for number, columns in raw)
    if not rows:
        raise BadInput("the data set has no rows", where=path, got="0 rows", wanted="at least one row")
    return rows


def read_parquet(path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a Parquet file, numbered from 1."""
    import duckdb

    try:
        found = duckdb.connect().execute("SELECT * FROM read_parquet(?)", [path])
        names = [column[0] for column in found.description]
        rows = found.fetchall()
    except duckdb.Error as error:
        raise BadInput(
            "not a Parquet file", where=path, got=str(error).split("\n")[0], wanted="Parquet", cure="write it anew"
        ) from error
    for number, row in enumerate(rows, start=1):
        yield number, {name: value for name, value in zip(names, row, strict=True) if value is not None}


def read_json(path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a JSON array or of JSON lines, numbered from 1 (lines: as in an editor).

    By the standard library, for it names the broken line and takes no text for a date, as column types by guess do.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("not a text file in UTF-8", where=path, got=str(error), wanted="UTF-8") from error
    if text.lstrip().startswith("["):
        yield from enumerate(parse_json(text, path, "a JSON array of objects"), start=1)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, f"{path}, row {number}", "one JSON object per line")


def parse_json(text: str, where: str, wanted: str) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            "broken JSON", where=where, got=f"{error.msg} at character {error.pos}", wanted=wanted, cure="mend the file"
        ) from error


def read_row(columns: Any, where: str, number: int) -> Row:
    """One row, checked: a prompt, an answer, and what else it says."""
    if not isinstance(columns, Mapping):
        raise BadInput("a row is not an object", where=where, got=type(columns).__name__, wanted="columns by name")
    prompt, shown = read_prompt(columns, where)
    answer, worked = read_answer(columns, where)
    split = columns.get("split") or ""
    if split not in ("", "train", "test"):
        raise BadInput("unknown split", where=where, got=split, wanted="train or test", cure="rename or drop it")
    data = {name: columns[name] for name in ("info", "tools") if columns.get(name) is not None}
    return Row(number, prompt, answer, read_level(columns, where), split, data, shown or (said("assistant", worked),))


def read_prompt(columns: Mapping[str, Any], where: str) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The messages up to the last user message, and the assistant's messages after it."""
    name = next((name for name in PROMPT_COLUMNS if columns.get(name)), None)
    if name is None:
        raise missing("prompt", columns, where)
    value = columns[name]
    if isinstance(value, str):
        return (said("user", value),), ()
    try:
        messages = tuple(read_message(message) for message in value)
        last = max(place for place, message in enumerate(messages) if message.role == "user")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{name} is not a conversation",
            where=where,
            got=f"{str(value)[:80]} ({error})",
            wanted='a text, or a list of {"role", "content"} with a user message',
            cure=f"write {name} as a text",
        ) from error
    return messages[: last + 1], tuple(m for m in messages[last + 1 :] if m.role == "assistant")


def read_message(message: Mapping[str, Any]) -> Message:
    """A message in the common chat form: content as text or as text parts, and tool calls."""
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    calls = []
    for call in message.get("tool_calls") or ():
        function = call.get("function", call)
        arguments = function["arguments"]
        calls.append(ToolCall(function["name"], json.loads(arguments) if isinstance(arguments, str) else arguments))
    return Message(str(message["role"]), (*((Text(text),) if text else ()), *calls))


def read_answer(columns: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The answer, and the text that leads to it."""
    name = next((name for name in ANSWER_COLUMNS if columns.get(name) not in (None, "")), None)
    if name is None:
        raise missing("answer", columns, where)
    if not isinstance(columns[name], str | int | float):
        raise BadInput(
            f"{name} is not a text or a number", where=where, got=str(columns[name])[:80], wanted="one answer"
        )
    worked = str(columns[name]).strip()
    answer = worked.rsplit("####", 1)[-1].strip()
    if not answer or (name != "answer" and "\n" in answer):
        raise BadInput(
            f"{name} does not say what the answer is",
            where=where,
            got=worked[:80],
            wanted="one line, or a text that ends in #### and the answer",
            cure="add a column `answer`",
        )
    return answer, worked


def read_level(columns: Mapping[str, Any], where: str) -> int:
    """The level of a row, 1 where it has none."""
    value = columns.get("level")
    found = re.search(r"[0-9]+$", str(1 if value is None else value).strip())
    if found is None:
        raise BadInput("unknown level", where=where, got=value, wanted="a whole number, or words that end in one")
    return int(found[0])


def missing(what: str, columns: Mapping[str, Any], where: str) -> BadInput:
    """The error of a row that lacks its prompt or its answer."""
    return BadInput(
        f"a row has no {what}",
        where=where,
        got=f"columns {', '.join(map(str, columns)) or 'none'}",
        wanted=WANTED,
        cure=f"fill the column `{what}` in every row, or remove the row",
    )
