"""A conversation with a model that must end in something usable: faults are shown to it, answers are kept on disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from evolvent.errors import BadInput
from evolvent.policies.policy import Policy
from evolvent.records import Message, Prompt, Sampling, said
from evolvent.store.atomic import append_line, whole_lines

T = TypeVar("T")
MAX_FAULT = 1500  # characters of a fault that are shown


@dataclass
class Talk:
    """Asks stage by stage; with an `archive` a question that was answered before is not asked again."""

    role: str
    repair: str
    how: Sampling
    num_repairs: int
    archive: Path | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._known: dict[str, str] = {}
        if self.archive is not None and self.archive.exists():
            lines, _ = whole_lines(self.archive)
            self._known = {line["prompt"]: line["words"] for line in map(json.loads, lines)}

    def ask(self, policy: Policy, stage: str, request: str, read: Callable[[str], T]) -> T | None:
        """What `read` makes of the answer; where it raises BadInput the model is told and tries again, then None."""
        messages = [said("system", self.role), said("user", request)]
        for attempt in range(1 + self.num_repairs):
            words = self._words(policy, stage, attempt, tuple(messages))
            try:
                return read(words)
            except BadInput as error:
                self.counts[f"faults in {stage}"] += 1
                told = self.repair.format(fault=str(error)[:MAX_FAULT])
                messages += [said("assistant", words), said("user", told)]
        return None

    def _words(self, policy: Policy, stage: str, attempt: int, messages: tuple[Message, ...]) -> str:
        """The answer, from the archive where it is there."""
        key = _digest(policy.name, messages)
        if key not in self._known:
            prompt = Prompt(messages, stream=("manufacture", key))
            self._known[key] = asyncio.run(policy.sample([prompt], self.how))[0].text
            if self.archive is not None:
                line = {"stage": stage, "attempt": attempt, "policy": policy.name, "prompt": key}
                self.archive.parent.mkdir(parents=True, exist_ok=True)
                append_line(self.archive, json.dumps({**line, "words": self._known[key]}))
        self.counts["requests"] += 1
        return self._known[key]


def _digest(name: str, messages: tuple[Message, ...]) -> str:
    text = json.dumps([name, *([message.role, message.text] for message in messages)])
    return hashlib.sha256(text.encode()).hexdigest()
