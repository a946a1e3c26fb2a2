"""Two agents in the manner of strangers: standard library only, nothing known but a task and a base URL.

They import nothing of this package on purpose. `solver` holds one conversation and offers a calculator; `clerk` has a
boss whom it asks for a sum to work out, works it out, and asks somebody new what to answer: two conversations, each
under a system prompt of its own, so that no loop over one growing list of messages could play its part.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

MAX_TURNS = 8
SUM = re.compile(r"[0-9]+(?:[-+*][0-9]+)*")
CALC = {
    "type": "function",
    "function": {
        "name": "calc",
        "description": "Evaluate an arithmetic expression.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}


def solver(task: Mapping[str, Any], base_url: str) -> str:
    """Ask, run the calculator, ask again, until there is an answer."""
    messages: list[Any] = [{"role": "user", "content": task["question"]}]
    for _ in range(MAX_TURNS):
        message = _ask(base_url, messages)
        if not message.get("tool_calls"):
            return str(message["content"])
        messages.append(message)
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": _work_out(call)} for call in message["tool_calls"]
        ]
    return ""


def clerk(task: Mapping[str, Any], base_url: str) -> str:
    """Ask one what to work out, and another, who has never seen the task, what to answer."""
    told = {"role": "system", "content": "boss"}
    message = _ask(base_url, [told, {"role": "user", "content": task["question"]}])
    if not message.get("tool_calls"):
        return str(message["content"])
    found = _work_out(message["tool_calls"][0])
    told = {"role": "system", "content": "desk"}
    return str(_ask(base_url, [told, {"role": "user", "content": f"result {found}"}])["content"] or "")


def _ask(base_url: str, messages: Sequence[Any]) -> dict[str, Any]:
    address = urlsplit(base_url)
    line = http.client.HTTPConnection(str(address.hostname), address.port)
    try:
        body = json.dumps({"model": "any", "messages": list(messages), "tools": [CALC]})
        line.request("POST", f"{address.path}/chat/completions", body, {"Content-Type": "application/json"})
        reply = line.getresponse()
        answer = json.loads(reply.read())
    finally:
        line.close()
    if reply.status != 200:
        raise RuntimeError(answer["error"]["message"])
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def _work_out(call: Mapping[str, Any]) -> str:
    try:
        words = json.loads(call["function"]["arguments"])["expression"]
        if not SUM.fullmatch(words) or len(words) > 80:
            return "error: write a sum such as 3*4-5"
        return str(eval(re.sub(r"\b0+(?=\d)", "", words), {"__builtins__": {}}))
    except (ValueError, KeyError, TypeError):
        return "error: no expression"
