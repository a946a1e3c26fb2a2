"""What an agent has begun and the hub may not have heard of yet, kept in a file beside the work tree."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput
from evolvent.store.atomic import write_text

FILE = "unfinished.json"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A commit with what is said of it, on its way to the hub or back."""

    commit: str
    tldr: str
    message: str
    parent: str | None
    score: float | None = None
    tokens: int = 0
    money: float = 0.0
    is_submitted: bool = False
    post_id: int | None = None

    def said(self) -> dict[str, Any]:
        """What the hub is told."""
        return {
            "branch": "main",
            "parent_id": self.parent,
            "tldr": self.tldr,
            "message": self.message,
            "score": self.score,
            **self.cost(),
        }

    def cost(self) -> dict[str, Any]:
        """What it took to think of it."""
        return {"tokens": self.tokens, "money": self.money}

    def submitted(self, post_id: int | None) -> Unfinished:
        """The same, once the hub has said that it has it."""
        return replace(self, is_submitted=True, post_id=post_id)


def keep(folder: Path, begun: Unfinished) -> None:
    """Write it down before anybody hears of it."""
    write_text(folder / FILE, json.dumps(asdict(begun), indent=1) + "\n")


def recall(folder: Path) -> Unfinished | None:
    """What was begun, None where nothing is open."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Unfinished(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError):
        cure = "delete it; the commit itself is in the work tree"
        raise BadInput("what was begun cannot be read", where=str(path), cure=cure) from None


def forget(folder: Path) -> None:
    """It is done."""
    (folder / FILE).unlink(missing_ok=True)
