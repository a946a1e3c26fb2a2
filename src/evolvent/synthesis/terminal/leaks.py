"""Looks for the answers of a task among what its agent can see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evolvent.tasks.formats.harbor import HarborTask

MIN_CHARS = 12  # a shorter text is in other files by chance; it must be a whole file to count
MIN_SECRET = 40


def find_leak(task: HarborTask) -> str:
    """Where the truth of a task lies open, in words; nothing where it does not."""
    seen = {path: data.decode("utf-8", "replace") for path, data in task.below("environment").items()}
    for name, secret in _secrets(task):
        for path, told in seen.items():
            if secret in told:
                return f"environment/{path} holds {name}"
    for fact in _facts(task):
        wanted = fact["want"] if isinstance(fact["want"], str) else "\n".join(fact["want"])
        for path, told in seen.items():
            if _is_open(wanted, told):
                return f"environment/{path} holds what is wanted in {fact['path']}"
        if len(wanted.strip()) >= MIN_CHARS and wanted.strip() in task.instruction and "\n" in wanted.strip():
            return f"the instruction holds what is wanted in {fact['path']}"
    return ""


def _is_open(wanted: str, told: str) -> bool:
    plain = wanted.strip()
    return told.strip() == plain or (len(plain) >= MIN_CHARS and plain in told)


def _secrets(task: HarborTask) -> Iterator[tuple[str, str]]:
    """The files that only the tests and the oracle see."""
    for folder in ("tests", "solution"):
        for path, data in task.below(folder).items():
            told = data.decode("utf-8", "replace").strip()
            if len(told) >= MIN_SECRET:
                yield f"{folder}/{path}", told


def _facts(task: HarborTask) -> Iterator[dict[str, Any]]:
    """What our own tests want to find as text: computed from the files, never one of them."""
    try:
        found = json.loads(task.files.get("tests/facts.json", b"[]"))
    except ValueError:
        return
    for fact in found if isinstance(found, list) else ():
        if isinstance(fact, dict) and fact.get("kind") in ("text", "lines") and fact.get("want"):
            yield fact
