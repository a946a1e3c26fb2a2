"""`evolvent hive DEED`: a hub, its workers and its agents."""

from __future__ import annotations

import importlib
from typing import Any

from evolvent.cli.main import Command
from evolvent.errors import BadInput, nearest

DEEDS = {
    "serve": "a hub: [home=hive] [tasks=golf,packing] [workers=1] [database=URL] [registration=open]",
    "work": "a worker that measures for a hub: hub=URL key_file=FILE [num=1] [on=local|ray]",
    "join": "an agent that works on a task: TASK hub=URL agent=hill_climb|...|COMMAND|URL#MODEL",
    "swarm": "several agents in the background: up|status|logs|stop|down TASK hub=URL [num=3]",
    "new": "a task of your own that works, and its proof: FOLDER",
    "open": "a task for others to work on: FOLDER|golf|packing|speed|recipe hub=URL key_file=FILE",
    "board": "the leaderboard of a task: TASK hub=URL",
    "admin": "user|invite|revoke|close|holdout|call-off ... hub=URL key_file=FILE",
    "demo": "all of it in one command: a hub, three searchers, golf, a page, the verified gain",
}


def main(command: Command) -> dict[str, Any]:
    """Hand the words behind the deed to the module of its name."""
    if not command.words or command.words[0] not in DEEDS:
        got = command.words[0] if command.words else "nothing"
        lines = "\n".join(f"            {name:<7}{what}" for name, what in DEEDS.items())
        cure = nearest(got, list(DEEDS)) if command.words else "evolvent hive demo"
        raise BadInput("hive does one of these", where="evolvent hive", got=got, wanted=f"a deed\n{lines}", cure=cure)
    module = importlib.import_module(f"evolvent.cli.hive_{command.words[0]}")
    answer: dict[str, Any] = module.main(command, command.words[1:])
    return answer
