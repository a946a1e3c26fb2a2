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
from pathlib import Path

from evolvent.errors import InfrastructureError

MIN_CHARS = 800
# by the first digit of a document's hash: what agents train on, what ranks them, and what is held out
SHARES = {"public/train.txt": "01234", "sealed/pool.json": "56789ab", "holdout/pool.json": "cdef"}


def text_files() -> dict[str, bytes]:
    """The texts of the task `golf`, by their path in it: no document lies in two of them."""
    documents = _documents()
    parts = {path: [d for d in documents if _hash(d)[0] in digits] for path, digits in SHARES.items()}
    return {
        path: "\n\n".join(part).encode() if path.endswith(".txt") else json.dumps(part).encode()
        for path, part in parts.items()
    }


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
