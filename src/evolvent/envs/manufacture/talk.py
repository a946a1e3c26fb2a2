"""A conversation with a model that must end in something usable: faults are shown to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from evolvent.errors import BadInput
from evolvent.policies.policy import Policy
from evolvent.records import Message, Prompt, Sampling, said

T = TypeVar("T")
MAX_FAULT = 1500  # characters of a fault that are shown


@dataclass
class Talk:
    """Asks stage by stage, and counts."""

    role: str
    repair: str
    how: Sampling
    num_repairs: int
    counts: Counter[str] = field(default_factory=Counter)

    def ask(self, policy: Policy, stage: str, request: str, read: Callable[[str], T]) -> T | None:
        """What `read` makes of the answer; where it raises BadInput the model is told and tries again, then None."""
        messages = [said("system", self.role), said("user", request)]
        for _ in range(1 + self.num_repairs):
            words = self._words(policy, tuple(messages))
            try:
                return read(words)
            except BadInput as error:
                self.counts[f"faults in {stage}"] += 1
                told = self.repair.format(fault=str(error)[:MAX_FAULT])
                messages += [said("assistant", words), said("user", told)]
        return None

    def _words(self, policy: Policy, messages: tuple[Message, ...]) -> str:
        self.counts["requests"] += 1
        return asyncio.run(policy.sample([Prompt(messages, stream=("manufacture",))], self.how))[0].text
