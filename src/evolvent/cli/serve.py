"""`evolvent serve`: a checkpoint behind an OpenAI-compatible address, until Ctrl-C."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command
from evolvent.cli.screen import Screen
from evolvent.cli.subject import build_policies, find_subject, one_word, settle
from evolvent.errors import BadInput
from evolvent.serve import Where, serve

OWN = ("port", "host", "max_queue", "key_env")
CURL = """curl {url}/chat/completions -H 'Content-Type: application/json' \\{key}
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "{question}"}}]}}'"""
CURL_KEY = """
  -H "Authorization: Bearer ${key_env}" \\"""
PYTHON = """OpenAI(base_url="{url}", api_key={key}).chat.completions.create(model="{model}", ...)"""


def main(command: Command) -> dict[str, Any]:
    """Serve; with --json the address is the one line on stdout, printed once the port is open."""
    screen = Screen(as_json=command.json)
    subject = find_subject(one_word(command, "CHECKPOINT"))
    setting = settle(subject, command, own=OWN)
    where = _where(command.fields)
    policies = build_policies(subject, setting)
    if len(policies) > 1:
        raise BadInput(
            "several policies, one door",
            where=subject.policy,
            got=", ".join(policies),
            wanted="one policy",
            cure="name the folder of one of them in checkpoints/step-NNNNNN/",
        )
    [policy] = policies.values()
    model = _model_name(subject.policy)

    key_env = command.fields.get("key_env")

    def announce(words: str) -> None:
        found = re.search(r"https?://\S+/v1", words)
        url = found[0] if found else ""
        if command.json:
            print(json.dumps({"url": url, "model": model, "policy": subject.policy}), flush=True)
        key = CURL_KEY.format(key_env=key_env) if key_env else ""
        quoted = f'os.environ["{key_env}"]' if key_env else '"none"'
        screen.console.print(words, markup=False, soft_wrap=True)
        screen.console.print(
            CURL.format(url=url, model=model, question="12*34?", key=key), markup=False, soft_wrap=True
        )
        screen.console.print(PYTHON.format(url=url, model=model, key=quoted), markup=False, soft_wrap=True)
        screen.console.print(f"how it fares: {url.removesuffix('/v1')}/metrics", markup=False, soft_wrap=True)

    serve(
        policy,
        getattr(policy, "renderer", None),
        port=_port(command.port, command.fields.get("port")),
        model_name=model,
        where=where,
        announce=announce,
    )
    screen.say("closed")
    return {}


def _where(fields: Mapping[str, str]) -> Where:
    """Who may come in; the key itself stands in the environment, where other users of the machine do not see it."""
    key_env = fields.get("key_env")
    key = os.environ.get(key_env, "").strip() if key_env else None
    if key == "":
        raise BadInput(
            f"the environment variable {key_env} is empty",
            where="key_env",
            wanted="the key that clients shall send",
            cure=f"export {key_env}=..., or leave key_env out",
        )
    max_queue = fields.get("max_queue", "256")
    if not max_queue.isdecimal():
        raise BadInput("not a number of prompts", where="max_queue", got=max_queue, wanted="at least 1")
    return Where(fields.get("host", "127.0.0.1"), key, int(max_queue))


def _port(flag: int, field: str | None) -> int:
    if field is None:
        return flag
    if not field.isdecimal():
        raise BadInput("not a port", where="port", got=field, wanted="0..65535, where 0 takes a free one")
    return int(field)


def _model_name(policy: str) -> str:
    """A short name: the run and the step for a checkpoint of a run, else the folder's own."""
    path = Path(policy)
    step = next((p for p in (path, path.parent) if re.match(r"step-\d+$", p.name)), None)
    return f"{step.parent.parent.name}-{step.name}" if step else path.name
