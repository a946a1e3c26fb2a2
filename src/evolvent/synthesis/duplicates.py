"""Finds texts that are the same, or nearly so, as one that came before: by digest, and by shared shingles of words.

Two texts are near duplicates where the sets of their runs of `NUM_WORDS` words overlap (Jaccard) by `threshold` or
more. Every overlap is counted exactly through an index of shingles, without sketches.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field

from evolvent.envs.databases import Database

NUM_WORDS = 3
WORD = re.compile(r"\w+")
WORLDS_ALIKE, QUESTIONS_ALIKE = 0.8, 0.9


@dataclass
class Seen:
    """The texts that came so far, by name."""

    threshold: float
    _of_digest: dict[bytes, str] = field(default_factory=dict)
    _holders: dict[int, list[int]] = field(default_factory=dict)
    _names: list[str] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)

    def add(self, name: str, text: str) -> str:
        """Keep a text; gives what it is a duplicate of, exact or near, and keeps nothing where it is one."""
        exact = hashlib.sha256(text.encode()).digest()
        if exact in self._of_digest:
            return f"exact duplicate of {self._of_digest[exact]}"
        made = shingles(text)
        near = self._nearest(made)
        if near is not None:
            return f"near duplicate of {self._names[near]}"
        self._of_digest[exact] = name
        for shingle in made:
            self._holders.setdefault(shingle, []).append(len(self._names))
        self._names.append(name)
        self._sizes.append(len(made))
        return ""

    def _nearest(self, made: frozenset[int]) -> int | None:
        """The first text that overlaps by the threshold or more."""
        shared = Counter(holder for shingle in made for holder in self._holders.get(shingle, ()))
        for holder in sorted(shared):
            both = len(made) + self._sizes[holder] - shared[holder]
            if shared[holder] >= self.threshold * both:
                return holder
        return None


def shingles(text: str) -> frozenset[int]:
    """A 64-bit number for each run of words."""
    words = WORD.findall(text.lower())
    runs = [words[i : i + NUM_WORDS] for i in range(max(1, len(words) - NUM_WORDS + 1))]
    digests = (hashlib.blake2b(" ".join(run).encode(), digest_size=8).digest() for run in runs)
    return frozenset(int.from_bytes(digest, "big") for digest in digests)


def world_words(world: Database) -> str:
    """What makes a world itself: plain words of the schema, what tools say, and all rows; names alone make none new."""
    lines = [f"{world.word(t.name)} {world.word(t.name, c.name)} {c.kind}" for t in world.tables for c in t.columns]
    lines += sorted(f"{tool.description} {len(tool.parameters)}" for tool in world.tools)
    lines += list(world.rules)
    lines += [json.dumps(row, ensure_ascii=False) for table in world.tables for row in table.rows]
    return "\n".join(lines)
