"""What a template of terminal tasks draws: words with the facts they ask for, files, right ways and wrong ones."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Fact = Mapping[str, Any]
_WORDS = (
    "amber basil cedar delta ember fjord gravel harbor indigo juniper kettle lantern meadow nectar orchid pepper "
    "quartz raven saffron timber umber velvet willow yarrow zephyr birch copper dune falcon garnet heron iris jasper "
    "kelp lotus maple nickel olive pebble quill reed slate thistle urchin vapor wren"
)
WORDS = tuple(_WORDS.split())


@dataclass(frozen=True)
class Clause:
    """One sentence of an instruction, and the facts that it asks for."""

    words: str
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Draft:
    """One task: what is asked, the files at the start, a solution, wrong solutions, and other right ones (bash)."""

    clauses: tuple[Clause, ...]
    files: Mapping[str, str]
    solution: str
    mutants: tuple[str, ...]
    alternatives: tuple[str, ...]

    @property
    def instruction(self) -> str:
        """All that is asked."""
        return "\n".join(clause.words for clause in self.clauses)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Every asserted fact with the sentence that asks for it."""
        return tuple({**fact, "says": clause.words} for clause in self.clauses for fact in clause.facts)


def text(path: str, want: str) -> Fact:
    """A file with these lines; space at the ends of lines and of the file does not count."""
    return {"kind": "text", "path": path, "want": want}


def lines(path: str, want: Sequence[str]) -> Fact:
    """A file with these lines, in any order."""
    return {"kind": "lines", "path": path, "want": list(want)}


def bytes_as(path: str, content: str) -> Fact:
    """A file with the very bytes of one that was there at the start, here or elsewhere."""
    return {"kind": "bytes", "path": path, "sha256": sha256(content)}


def absent(path: str) -> Fact:
    """Nothing at a path."""
    return {"kind": "absent", "path": path}


def folder(path: str) -> Fact:
    """A folder."""
    return {"kind": "folder", "path": path}


def executable(path: str, wanted: bool) -> Fact:
    """A file that may be executed, or one that may not."""
    return {"kind": "executable", "path": path, "want": wanted}


def archive(path: str, members: Mapping[str, str]) -> Fact:
    """A gzipped tar archive of exactly these files."""
    return {"kind": "archive", "path": path, "members": {name: sha256(content) for name, content in members.items()}}


def sha256(content: str) -> str:
    """The digest of a text in UTF-8."""
    return hashlib.sha256(content.encode()).hexdigest()


def words_of(rng: random.Random, num: int) -> list[str]:
    """Different words."""
    return rng.sample(WORDS, num)


def prose(rng: random.Random, num_lines: int, *, width: int = 5) -> list[str]:
    """Lines of words."""
    return [" ".join(rng.choices(WORDS, k=rng.randint(2, width))) for _ in range(num_lines)]


def body(found: Sequence[str]) -> str:
    """Lines as the text of a file."""
    return "".join(line + "\n" for line in found)
