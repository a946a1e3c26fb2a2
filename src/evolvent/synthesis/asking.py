"""Asks any policy for something in JSON, and reads it where it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from evolvent.policies.policy import Policy
from evolvent.records import Prompt, Sampling, said


async def ask(policy: Policy, words: Sequence[str], how: Sampling, *names: str | int) -> list[str]:
    """What a policy says to each text; `names` and the place of a text key its random stream."""
    renderer = getattr(policy, "renderer", None)
    prompts = []
    for place, text in enumerate(words):
        messages = (said("user", text),)
        tokens = renderer.open(messages, ()) if renderer is not None else None
        prompts.append(Prompt(messages, tokens=tokens, stream=(*names, place)))
    made = await policy.sample(prompts, how)
    return [completion.message.text if completion.message else completion.text for completion in made]


def read_json(text: str) -> Any:
    """The last fenced block of a text as JSON, else the first JSON object or list in it; None where there is none."""
    for block in reversed(re.findall(r"```[^\n`]*\n(.*?)```", text, flags=re.DOTALL)):
        try:
            return json.loads(block)
        except (ValueError, RecursionError):
            continue
    for found in re.finditer(r"[\[{]", text):
        try:
            return json.JSONDecoder().raw_decode(text, found.start())[0]
        except (ValueError, RecursionError):
            continue
    return None


def last_block(text: str) -> str:
    """The last fenced block of a text, else all of it."""
    blocks = re.findall(r"```[^\n`]*\n(.*?)```", text, flags=re.DOTALL)
    return str(blocks[-1] if blocks else text).strip()
