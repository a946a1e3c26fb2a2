"""A policy whose every answer is kept in a file: what was asked before is answered from there, after a stop as well."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from evolvent.codec import decode, encode
from evolvent.errors import BadInput, StoreError
from evolvent.policies.policy import Policy
from evolvent.records import Completion, Prompt, Sampling
from evolvent.store.atomic import append_line, whole_lines


class Archived:
    """Asks `policy` only what the archive does not know; the same prompt and sampling count as asked before."""

    def __init__(self, policy: Policy, path: Path) -> None:
        self.policy, self.path = policy, path
        self.name = policy.name
        self._known = dict(_read(path))

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order; each is on disk before anybody sees it."""
        keys = [self._key(prompt, how) for prompt in prompts]
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._known}
        if new:
            for key, given in zip(new, await self.policy.sample(list(new.values()), how), strict=True):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                append_line(self.path, json.dumps({"key": key, "answer": encode(given)}))
                self._known[key] = given
        return [self._known[key] for key in keys]

    def _key(self, prompt: Prompt, how: Sampling) -> str:
        text = json.dumps([self.name, encode(prompt), encode(how)])
        return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> list[tuple[str, Completion]]:
    found = []
    for number, line in enumerate(whole_lines(path)[0], 1):
        try:
            data = json.loads(line)
            found.append((data["key"], decode(data["answer"])))
        except (ValueError, KeyError, TypeError, BadInput) as error:
            raise StoreError(
                "an answer cannot be read", where=f"{path}, line {number}", got=line[:80],
                cure="delete this line; what it answers is then asked again",
            ) from error  # fmt: skip
    return found
