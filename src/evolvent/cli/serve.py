"""`evolvent serve`: a checkpoint behind an OpenAI-compatible address, until Ctrl-C."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command
from evolvent.cli.screen import Screen
from evolvent.cli.subject import build_policies, find_subject, one_word, settle
from evolvent.errors import BadInput
from evolvent.serve import serve

CURL = """curl {url}/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "{question}"}}]}}'"""


def main(command: Command) -> dict[str, Any]:
    """Serve; with --json the address is the one line on stdout, printed once the port is open."""
    screen = Screen(as_json=command.json)
    subject = find_subject(one_word(command, "CHECKPOINT"))
    setting = settle(subject, command, own=("port",))
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

    def announce(words: str) -> None:
        found = re.search(r"https?://\S+/v1", words)
        url = found[0] if found else ""
        if command.json:
            print(json.dumps({"url": url, "model": model, "policy": subject.policy}), flush=True)
        screen.console.print(words, markup=False)
        screen.console.print(CURL.format(url=url, model=model, question="12*34?"), markup=False, soft_wrap=True)

    serve(
        policy,
        getattr(policy, "renderer", None),
        port=_port(command.port, command.fields.get("port")),
        model_name=model,
        announce=announce,
    )
    screen.say("closed")
    return {}


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
