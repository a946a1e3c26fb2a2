"""Reads documents to be searched from a JSONL file, or from a folder of text files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput

__all__ = ["Document", "read_documents"]

ENDINGS = (".txt", ".md")
ID_KEYS = ("id", "_id", "doc_id", "docid")  # ours, BEIR's and two of TREC's
TEXT_KEYS = ("text", "contents", "body")


@dataclass(frozen=True, slots=True)
class Document:
    """A text with a name of its own, and a title where it has one."""

    doc_id: str
    text: str
    title: str = ""

    @property
    def whole(self) -> str:
        """What is indexed: the title and the text."""
        return f"{self.title}\n{self.text}" if self.title else self.text


def read_documents(path: str | Path) -> tuple[Document, ...]:
    """The documents of a JSONL file (`id`, `text`, and `title` if there is one), or the .txt and .md files of a folder.

    A file of a folder is called by its path in it; files come in the order of their names.
    """
    place = Path(path)
    if place.is_dir():
        found = tuple(_of_folder(place))
    elif place.is_file():
        found = tuple(_of_lines(place))
    else:
        raise BadInput("no such documents", where=str(path), wanted="a JSONL file, or a folder of .txt and .md files")
    _check(found, str(path))
    return found


def _of_folder(folder: Path) -> Iterator[Document]:
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file()):
        yield Document(path.relative_to(folder).as_posix(), _decode(path))


def _of_lines(path: Path) -> Iterator[Document]:
    for number, line in enumerate(_decode(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput("a line that is no JSON", where=where, got=line[:60], wanted=str(error)) from error
        if not isinstance(row, dict):
            raise BadInput("a line that is no object", where=where, got=line[:60], wanted='{"id": ..., "text": ...}')
        title = row.get("title") or ""
        yield Document(_field(row, ID_KEYS, where), _field(row, TEXT_KEYS, where), str(title))


def _field(row: dict[str, Any], keys: tuple[str, ...], where: str) -> str:
    for key in keys:
        if isinstance(row.get(key), str | int):
            return str(row[key])
    raise BadInput("a document lacks a field", where=where, got=", ".join(map(str, row)), wanted=" or ".join(keys))


def _decode(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput("a file that is not UTF-8", where=str(path), got=str(error)) from error


def _check(found: tuple[Document, ...], where: str) -> None:
    if not found:
        raise BadInput("no documents", where=where, wanted="at least one", cure="a JSONL file, or .txt and .md files")
    seen: set[str] = set()
    for document in found:
        if document.doc_id in seen:
            raise BadInput("two documents have one id", where=where, got=document.doc_id)
        seen.add(document.doc_id)
