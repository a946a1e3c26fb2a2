"""`evolvent hive DEED`: a hub, its workers and its agents."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from evolvent.cli.main import VERBS, Command
from evolvent.errors import BadInput, nearest

USAGE = {
    "serve": "[home=hive] [tasks=golf,packing] [--port N]",
    "work": "hub=URL key_file=FILE",
    "join": 'TASK hub=URL [agent=hill_climb|"COMMAND"|URL#MODEL]',
    "swarm": "up|status|logs|stop|down TASK hub=URL [num=3] [agent=...]",
    "new": "FOLDER",
    "open": "FOLDER|golf|packing|speed|recipe hub=URL key_file=FILE",
    "board": "[TASK] hub=URL",
    "admin": "user|revoke|invite|close|reopen|holdout|call-off|call-on ... hub=URL key_file=FILE",
    "demo": "[seconds=150] [task=golf]",
}
DEEDS = {
    "serve": "a hub with its pages and a worker of its own",
    "work": "a worker that measures for a hub",
    "join": "an agent that works on a task",
    "swarm": "several agents in the background",
    "new": "a task of your own that works, and its proof",
    "open": "a task for others to work on",
    "board": "the tasks of a hub, or the leaderboard of one",
    "admin": "keys, invitations, tasks that close, runs that are called off",
    "demo": "all of it in one command: a hub, three searchers, golf, a page, the verified gain",
}
MORE = {
    "serve": """The folder home= holds all of a hub: the database, git repositories, sealed tasks, key files.
The same command goes on where it was. Tasks are shipped ones (under seeds of this hub's own) or folders.

keys: home=hive tasks= workers=1 (0: others measure) database=PATH|postgresql://USER@HOST/NAME host=127.0.0.1
  public_url= registration=open|invited|closed alpha=0.05 (the chance that luck is ever kept) lease_s=60
  max_looks=5 (runs that may see the hold-out) max_attempts=5 (of a measurement whose worker or machine fails)""",
    "work": """A worker sees what is sealed; `evolvent hive admin user NAME role=worker` makes a key for one you trust.
Ctrl-C ends after the measurement at hand, a second one at once.

keys: hub=URL (else $EVOLVENT_HIVE) key_file=FILE (else $EVOLVENT_HIVE_KEY) num=1 name= max_jobs=
  home= (keeps the tasks that it was sent) on=local|ray (pip install "evolvent[ray]"; $RAY_ADDRESS names a cluster,
  and each of its machines needs evolvent and a sandbox)""",
    "open": """The whole folder is sent, sealed parts included; a shipped task is sent under fresh seeds.
The hub measures the baseline first.

keys: hub=URL key_file=FILE (of an owner or admin) title= description=""",
    "board": """Measured: the mean over the sealed seeds, with its 95 % interval.
Likely: drawn towards the other runs as far as luck goes.

keys: hub=URL num=10""",
    "admin": """user NAME role=user|owner|worker|admin   a key, shown once
invite uses=1                            a code with which agents may register
revoke AGENT                             end an agent; its runs stay
close TASK | reopen TASK                 no more submissions, submissions again
holdout TASK                             the best runs see the hold-out, each once
call-off TASK RUN | call-on TASK RUN     take a run off the board; put it back, and ask again for what was given up

keys: hub=URL key_file=FILE (serve prints where that of the admin lies)""",
    "demo": """The search takes so many seconds, all of it about twice as long. Ctrl-C ends the search early.

keys: seconds=150 task=golf workers=2 agents=hill_climb,crossover,tpe home= (else a temporary folder, which is kept)""",
}
PORT = 8000  # where nobody said another
FLAGS = {"seed": ("join", "swarm", "new", "open", "demo"), "port": ("serve", "demo")}


def main(command: Command) -> dict[str, Any]:
    """Hand the words behind the deed to the module of its name."""
    if not command.words or command.words[0] not in DEEDS:
        got = command.words[0] if command.words else "nothing"
        lines = list_deeds(12)
        cure = nearest(got, list(DEEDS)) if command.words else "evolvent hive demo"
        raise BadInput("hive does one of these", where="evolvent hive", got=got, wanted=f"a deed\n{lines}", cure=cure)
    _refuse_idle(command)
    module = importlib.import_module(f"evolvent.cli.hive_{command.words[0]}")
    answer: dict[str, Any] = module.main(command, command.words[1:])
    return answer


def _refuse_idle(command: Command) -> None:
    """BadInput for a flag that the deed has no use for."""
    deed = command.words[0]
    idle = [name for name, is_used in (("seed", command.seed is not None), ("port", command.port != PORT)) if is_used]
    idle = [name for name in idle if deed not in FLAGS[name]]
    if idle:
        where = f"evolvent hive {deed}"
        raise BadInput(f"--{idle[0]} has no effect on {deed}", where=where, got=f"--{idle[0]}", cure="leave it out")


def tell_help(words: Sequence[str]) -> str:
    """What `evolvent hive --help` and `evolvent hive DEED --help` print."""
    deed = next((word for word in words if word in DEEDS), None)
    if deed is None:
        usage = f"usage: evolvent hive {VERBS['hive'][1]} ... [flags]"
        return f"{usage}\n\n{list_deeds(2)}\n\n`evolvent hive DEED --help` says more."
    more = MORE.get(deed) or importlib.import_module(f"evolvent.cli.hive_{deed}").HELP
    flags = " ".join(["--json", *(f"--{name} N" for name, deeds in FLAGS.items() if deed in deeds)])
    return f"usage: evolvent hive {deed} {USAGE[deed]} [flags]\n\n{DEEDS[deed]}.\n\n{more}\n\nflags: {flags}"


def list_deeds(indent: int) -> str:
    """The deeds, a line each."""
    return "\n".join(f"{' ' * indent}{name:<7}{what}" for name, what in DEEDS.items())
