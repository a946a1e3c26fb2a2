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
    "call-off": (("TASK", "RUN"), (), "take a run off the board, by its number or commit"),
    "call-on": (("TASK", "RUN"), (), "put it back"),
}
MIN_DIGITS = 7  # as many and more begin a commit; fewer are the number of a run


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
    uses = whole(command.fields, "uses", 1)
    if uses < 1:
        raise BadInput("a code that nobody can use", where="uses", got=uses, wanted=">= 1")
    with HubClient(hub_of(command.fields), user_key=read_key(command.fields), patience_s=PATIENCE_S) as client:
        answer = _ask(client, deed, rest, (command, uses)) or {}
    screen = Screen(as_json=command.json)
    if not answer:
        screen.say(f"{deed} {' '.join(rest)}: done")
    for name, value in answer.items():
        for line in [one[:8] for one in value] or ["none"] if isinstance(value, list) else [value]:
            screen.console.print(f"{name:<12} {line}", markup=False, soft_wrap=True)
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
        "call-off": lambda: Call("PATCH", _address(client, *words), json={"valid": False}),
        "call-on": lambda: Call("PATCH", _address(client, *words), json={"valid": True}),
    }
    answer: dict[str, Any] = client.calls.ask(calls[deed]()) or {}
    return {
        key: value
        for key, value in answer.items()
        if key in ("key", "name", "role", "invite", "uses", "id", "state", "runs", "valid")
    }


def _address(client: Any, task: str, run: str) -> str:
    """Where a run lies on the hub; #7, as pages and agents say it, is looked up."""
    from evolvent.hive.agents.calls import Call

    number = run.removeprefix("#")
    if not number.isdecimal() or len(number) >= MIN_DIGITS:
        return f"/tasks/{task}/runs/{run}"
    found, page = None, 1
    while found is None:
        told = client.calls.ask(
            Call("GET", f"/tasks/{task}/runs", params={"view": "all", "sort": "recent", "per_page": 100, "page": page})
        )
        found = next((one["id"] for one in told["runs"] if one["number"] == int(number)), None)
        if found is None and not told.get("has_next"):
            raise BadInput("no run has this number", where=task, got=run, wanted="the number of a run, or its commit")
        page += 1
    return f"/tasks/{task}/runs/{found}"
