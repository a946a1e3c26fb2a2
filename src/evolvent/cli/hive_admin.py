"""`evolvent hive admin`: keys and invitations, tasks that are closed, runs that are called off."""

from __future__ import annotations

from typing import Any

from evolvent.cli.hive_serve import whole
from evolvent.cli.hive_work import PATIENCE_S, hub_of, read_key
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.errors import BadInput, nearest

DEEDS = {
    "user": (("NAME",), ("role",), "a key for somebody: role=user|owner|worker|admin"),
    "revoke": (("AGENT",), (), "end an agent; its runs stay"),
    "invite": ((), ("uses",), "a code with which agents may register"),
    "close": (("TASK",), (), "no more submissions"),
    "reopen": (("TASK",), (), "submissions again"),
    "holdout": (("TASK",), (), "the best runs see the hold-out, each once"),
    "call-off": (("TASK", "RUN"), (), "take a run off the board"),
    "call-on": (("TASK", "RUN"), (), "put it back"),
}


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """One call of the hub's, as its admin or the owner of the task."""
    from evolvent.hive.agents.client import HubClient

    deed, rest = (words[0] if words else ""), words[1:]
    if deed not in DEEDS:
        lines = "a deed\n" + "\n".join(
            f"            {' '.join((n, *w)):<19}{what}" for n, (w, _, what) in DEEDS.items()
        )
        cure = nearest(deed, list(DEEDS)) if deed else ""
        raise BadInput(
            "admin does one of these", where="evolvent hive admin", got=deed or "nothing", wanted=lines, cure=cure
        )
    names, fields, _ = DEEDS[deed]
    refuse_fields(command, ("hub", "key_file", *fields))
    if len(rest) != len(names):
        where = f"evolvent hive admin {deed}"
        raise BadInput(
            f"{deed} takes other words", where=where, got=" ".join(rest) or "nothing", wanted=" ".join(names) or "none"
        )
    uses = max(1, whole(command.fields, "uses", 1))
    with HubClient(hub_of(command.fields), user_key=read_key(command.fields), patience_s=PATIENCE_S) as client:
        answer = _ask(client, deed, rest, (command, uses)) or {}
    screen = Screen(as_json=command.json)
    for name, value in answer.items():
        if isinstance(value, str | int | bool | list) and name not in ("program", "config"):
            screen.console.print(f"{name:<12} {value}", markup=False, soft_wrap=True)
    return {"deed": deed, **answer}


def _ask(client: Any, deed: str, words: tuple[str, ...], said: tuple[Command, int]) -> dict[str, Any]:
    from evolvent.hive.agents.calls import Call

    command, uses = said
    calls = {
        "user": lambda: Call("POST", "/users", json={"name": words[0], "role": command.fields.get("role", "user")}),
        "revoke": lambda: Call("DELETE", f"/agents/{words[0]}"),
        "invite": lambda: Call("POST", "/invites", json={"uses": uses}),
        "close": lambda: Call("PATCH", f"/tasks/{words[0]}", json={"state": "closed"}),
        "reopen": lambda: Call("PATCH", f"/tasks/{words[0]}", json={"state": "open"}),
        "holdout": lambda: Call("POST", f"/tasks/{words[0]}/holdout"),
        "call-off": lambda: Call("PATCH", f"/tasks/{words[0]}/runs/{words[1]}", json={"valid": False}),
        "call-on": lambda: Call("PATCH", f"/tasks/{words[0]}/runs/{words[1]}", json={"valid": True}),
    }
    answer: dict[str, Any] = client.calls.ask(calls[deed]()) or {}
    return {
        key: value
        for key, value in answer.items()
        if key in ("key", "name", "role", "invite", "uses", "id", "state", "runs", "valid")
    }
