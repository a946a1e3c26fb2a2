"""Collects real text that every machine with this package has and no artifact can read: the documentation of numpy.

The sandbox shows the interpreter's own library, so its documentation would be no secret there; packages are hidden.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import lzma
from collections import Counter
from pathlib import Path

from evolvent.errors import InfrastructureError

MIN_CHARS = 800
# by the first digit of a document's hash: what agents train on, what ranks them, and what is held out
TRAIN, PRIMER = "public/train.txt", "public/weights/primer.lzma"
SHARES = {TRAIN: "01234", "sealed/pool.json": "56789ab", "holdout/pool.json": "cdef"}
PRIMER_BYTES, PASSAGE_BYTES, GRAM_BYTES = 12000, 256, 8


def text_files() -> dict[str, bytes]:
    """The texts of the task `golf`, by their path in it: no document lies in two of them."""
    documents = _documents()
    parts = {path: [d for d in documents if _hash(d)[0] in digits] for path, digits in SHARES.items()}
    files = {
        path: "\n\n".join(part).encode() if path.endswith(".txt") else json.dumps(part).encode()
        for path, part in parts.items()
    }
    return {**files, PRIMER: _pack(choose_typical(files[TRAIN], PRIMER_BYTES))}


@functools.cache
def choose_typical(text: bytes, num_bytes: int) -> bytes:
    """About so many bytes of a text, passages whose short strings are frequent in it and were in no earlier one.

    One from each stretch of the text, as the dictionaries of zstd are trained (its COVER; Liao et al. 2016).
    """
    grams = Counter(_grams(text))
    passages = _passages(text)
    stretch = max(1, len(passages) * PASSAGE_BYTES // num_bytes)
    known: set[bytes] = set()

    def worth(passage: bytes) -> float:
        return sum(grams[gram] - 1 for gram in set(_grams(passage)) - known) / len(passage)

    chosen = []
    for start in range(0, len(passages), stretch):
        chosen.append(max(passages[start : start + stretch], key=worth))
        known.update(_grams(chosen[-1]))
    return b"".join(chosen)[:num_bytes]


def _grams(text: bytes) -> list[bytes]:
    return [text[i : i + GRAM_BYTES] for i in range(len(text) - GRAM_BYTES + 1)]


def _passages(text: bytes) -> list[bytes]:
    """Whole lines, a few together."""
    passages = [b""]
    for line in text.splitlines(keepends=True):
        if len(passages[-1]) >= PASSAGE_BYTES:
            passages.append(b"")
        passages[-1] += line
    return [passage for passage in passages if passage]


def _pack(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE, preset=9 | lzma.PRESET_EXTREME)


@functools.cache
def _documents() -> tuple[str, ...]:
    """Every long text in the sources of numpy, once, in the order of its hash."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        raise InfrastructureError("numpy's documentation is not here", where="golf", cure="pip install numpy")
    documents: set[str] = set()
    for path in Path(found.origin).parent.rglob("*.py"):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= MIN_CHARS:
                documents.add(inspect.cleandoc(node.value))
    return tuple(sorted(documents, key=_hash))


def _hash(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()
