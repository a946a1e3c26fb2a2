"""`evolvent hive swarm`: several agents in the background, each a process, a work tree and a room of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.cli.hive_swarm_screen import follow, labelled, make_table, print_line, tell_swarm
from evolvent.cli.hive_work import hub_of
from evolvent.cli.main import Command
from evolvent.cli.screen import Screen
from evolvent.errors import BadInput, EvolventError, nearest

if TYPE_CHECKING:
    from evolvent.hive.agents.swarm_state import Swarm

PLACE = ("hub", "folder")
DEEDS = {
    "up": ("TASK hub=URL agent=... [num=3]", ("num", "agent", "stagger_s", "prefix", "invite")),
    "status": ("[TASK]", ()),
    "logs": ("TASK [AGENT ...]", ("lines", "follow", "of")),
    "stop": ("TASK [AGENT ...]", ("grace_s",)),
    "down": ("TASK", ("grace_s", "clean")),
}
OURS = ("name", "agent", "hub", "folder")  # what each agent gets from the swarm, and nobody else may set
NUM, STAGGER_S, GRACE_S, LINES = 3, 1.0, 10.0, 20
HELP = """An agent is a process, a work tree and a room of its own, and works on when this command has ended. Another up
starts only those that are dead; what was half done when something was killed is mended by the next up.

swarm up TASK hub=URL agent=... [num=3]   fields: stagger_s=1 prefix= invite=, and all of `join` for each agent
swarm status [TASK]                       what they are doing, and what the hub counts of them
swarm logs TASK [AGENT ...]               fields: lines=20 follow=false of=agent|command
swarm stop TASK [AGENT ...]               fields: grace_s=10; asked to end, then made to
swarm down TASK                           fields: grace_s=10 clean=false; tokens are worth nothing afterwards

Everything of a swarm lies below $EVOLVENT_HIVE_HOME (else ~/.config/evolvent/hive), or in folder=FOLDER."""


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Do what the first word says, with the swarm of a task."""
    deed = words[0] if words else ""
    if deed not in DEEDS:
        wanted = "\n          ".join(f"swarm {name} {usage}" for name, (usage, _) in DEEDS.items())
        cure = nearest(deed, list(DEEDS)) if deed else "evolvent hive swarm up TASK hub=URL agent=hill_climb"
        raise BadInput("a swarm does one of these", where="evolvent hive swarm", got=deed or "nothing", wanted=wanted,
                       cure=cure)  # fmt: skip
    usage, known = DEEDS[deed]
    strays = [name for name in command.fields if name not in (*PLACE, *known)]
    if deed != "up" and strays:
        cure = nearest(strays[0], [*PLACE, *known])
        raise BadInput(f"no field {strays[0]!r}", where=f"evolvent hive swarm {deed}", got=strays[0], cure=cure)
    if deed == "status" and len(words) == 1 and "folder" not in command.fields:
        return list_swarms(command)
    if len(words) < 2 or (len(words) > 2 and deed in ("up", "status", "down")):
        got = " ".join(words[1:]) or "nothing"
        raise BadInput(
            "a swarm works on one task", where="evolvent hive swarm", got=got, wanted=f"swarm {deed} {usage}"
        )
    does = {"up": up, "status": status, "logs": logs, "stop": stop, "down": down}
    return does[deed](command, words[1], words[2:])


def up(command: Command, task: str, _: tuple[str, ...]) -> dict[str, Any]:
    """Start a swarm, or whoever of it is dead."""
    from evolvent.hive.agents.client import HubClient
    from evolvent.hive.agents.swarm import Door, raise_swarm
    from evolvent.hive.agents.swarm_state import hold, refreshed

    screen, fields = Screen(as_json=command.json), command.fields
    swarm = _plan(command, task)
    _check_agent(swarm, screen)
    num = _whole(fields, "num", len(swarm.cells) or NUM)
    stagger_s = _number(fields, "stagger_s", STAGGER_S)
    with hold(Path(swarm.folder)), HubClient(swarm.hub) as client:
        swarm = refreshed(swarm)
        door = Door(client, swarm.prefix or None, fields.get("invite"))
        swarm = raise_swarm(swarm, num, door, stagger_s, partial(print_line, screen))
    answer = tell_swarm(swarm)
    print_line(screen, f"\nevolvent hive swarm status {task}    logs {task}    stop {task}    down {task} clean=true")
    return answer


def status(command: Command, task: str, _: tuple[str, ...]) -> dict[str, Any]:
    """A table of the agents: what they are doing, and what the hub has of them."""
    from evolvent.hive.agents.client import HubClient
    from evolvent.hive.agents.swarm import count_runs
    from evolvent.hive.hub.refusals import Refused

    screen, swarm = Screen(as_json=command.json), _find(command, task)
    counts: Mapping[str, Mapping[str, Any]] = {}
    try:
        with HubClient(swarm.hub, patience_s=1.0, timeout_s=5.0) as client:
            counts = count_runs(client, swarm.task)
    except Refused as error:
        print_line(screen, f"the hub refuses: {error.what} ({swarm.hub})")
    except EvolventError as error:
        print_line(screen, f"the hub does not answer: {error.what} ({swarm.hub}); agents at work wait for it")
    answer = tell_swarm(swarm, counts)
    if not command.json:
        screen.console.print(make_table(answer["agents"]))
    return answer


def list_swarms(command: Command) -> dict[str, Any]:
    """Every swarm of this user, with how many of it are at work."""
    screen = Screen(as_json=command.json)
    found = [tell_swarm(swarm) for swarm in _all_swarms()]
    for one in found:
        num_running = sum(agent["state"] == "running" for agent in one["agents"])
        print_line(
            screen, f"{one['task']:<20} {num_running} of {len(one['agents'])} at work  {one['hub']}  {one['folder']}"
        )
    if not found:
        print_line(screen, "no swarm here; evolvent hive swarm up TASK hub=URL agent=hill_climb")
    return {"swarms": found}


def logs(command: Command, task: str, agents: tuple[str, ...]) -> dict[str, Any]:
    """The last lines that agents said; of=command those of the command that an agent runs."""
    from evolvent.hive.agents.swarm import read_tail
    from evolvent.hive.agents.swarm_state import COMMAND_LOG, LOG

    of = command.fields.get("of", "agent")
    if of not in ("agent", "command"):
        raise BadInput("no such log", where="of", got=of, wanted="agent | command")
    swarm, name = _find(command, task), LOG if of == "agent" else COMMAND_LOG
    cells = [swarm.find(agent) for agent in agents] or list(swarm.cells)
    lines = _whole(command.fields, "lines", LINES)
    told = {cell.agent: read_tail(cell.path / name, lines) for cell in cells}
    screen = Screen(as_json=command.json)
    if not command.json:
        for agent, said in told.items():
            for line in said or ["(nothing yet)"]:
                print_line(screen, labelled(agent, line, told))
    if _truth(command.fields, "follow"):
        follow(screen, {cell.agent: cell.path / name for cell in cells})
    return {"logs": told}


def stop(command: Command, task: str, agents: tuple[str, ...]) -> dict[str, Any]:
    """End agents; `up` starts them again."""
    from evolvent.hive.agents.swarm import stop_cells
    from evolvent.hive.agents.swarm_state import hold, refreshed

    screen, swarm = Screen(as_json=command.json), _find(command, task)
    with hold(Path(swarm.folder)):
        swarm = refreshed(swarm)
        names = agents or tuple(cell.agent for cell in swarm.cells)
        swarm = stop_cells(swarm, names, _number(command.fields, "grace_s", GRACE_S), partial(print_line, screen))
    return tell_swarm(swarm)


def down(command: Command, task: str, _: tuple[str, ...]) -> dict[str, Any]:
    """End a swarm for good: its tokens are worth nothing afterwards, and clean=true removes its trees and logs."""
    from evolvent.hive.agents.files import remove_tree
    from evolvent.hive.agents.swarm import drop_cells, stop_cells
    from evolvent.hive.agents.swarm_state import hold, refreshed

    screen, clean = Screen(as_json=command.json), _truth(command.fields, "clean")
    swarm = _find(command, task)
    with hold(Path(swarm.folder)):
        swarm = refreshed(swarm)
        names = [cell.agent for cell in swarm.cells]
        swarm = stop_cells(swarm, names, _number(command.fields, "grace_s", GRACE_S), partial(print_line, screen))
        left = drop_cells(swarm, clean, partial(print_line, screen))
        if clean and not left:
            remove_tree(Path(swarm.folder))
    if left:
        print_line(screen, "once the hub answers again, say the same once more")
        return {**tell_swarm(swarm), "left": left, "exit": 1}
    print_line(
        screen, f"the swarm of {task} is gone" + ("" if clean else f"; its trees and logs are in {swarm.folder}")
    )
    return {"task": task, "agents": names, "left": []}


# ---------------------------------------------------------------- which swarm


def _plan(command: Command, task: str) -> Swarm:
    """The swarm that `up` is about: as it was, with what is said anew."""
    from evolvent.hive.agents.calls import read_url
    from evolvent.hive.agents.keys import default_home, hub_folder
    from evolvent.hive.agents.swarm_state import Swarm

    fields = command.fields
    extra = {name: value for name, value in fields.items() if name not in (*PLACE, *DEEDS["up"][1])}
    if command.seed is not None:
        extra["seed"] = str(command.seed)
    wrong = next((name for name in extra if name in OURS), None)
    if wrong:
        raise BadInput(f"{wrong} is the swarm's own to choose", where="evolvent hive swarm up", cure="prefix=NAME")
    old = _look(command, task)
    hub = read_url(old.hub if old and "hub" not in fields else hub_of(fields))
    if old is not None and old.hub != hub:
        raise BadInput(
            "this swarm works for another hub", where=old.folder, got=hub, wanted=old.hub, cure="folder=OTHER"
        )
    agent = fields.get("agent") or (old.agent if old else "")
    if not agent:
        wanted = 'agent=hill_climb, agent="COMMAND {prompt}", agent=http://HOST/v1#MODEL'
        raise BadInput("what shall they be?", where="evolvent hive swarm up", wanted=wanted)
    if old is not None:
        prefix = fields.get("prefix", old.prefix)
        return replace(old, agent=agent, prefix=prefix, fields={**old.fields, **extra})
    default = hub_folder(default_home(), hub) / "swarms" / _plain(task)
    folder = Path(fields.get("folder", default)).expanduser().absolute()
    return Swarm(task, hub, str(folder), agent, str(Path.cwd()), fields.get("prefix", ""), extra)


def _check_agent(swarm: Swarm, screen: Screen) -> None:
    """What is wrong with the agent or its fields, said here and not by each agent to its own log."""
    from evolvent.cli.hive_agents import COMMAND_FIELDS, EDIT_FIELDS, build_command_agent
    from evolvent.cli.hive_join import OWN_FIELDS, kind_of
    from evolvent.hive.agents.files import Seat

    known = (*OWN_FIELDS, *COMMAND_FIELDS, *EDIT_FIELDS, "seed")
    wrong = next((name for name in swarm.fields if name not in known), None)
    if wrong:
        cure = nearest(wrong, [*PLACE, *DEEDS["up"][1], *known])
        raise BadInput(f"no field {wrong!r}", where="evolvent hive swarm up", got=wrong, cure=cure)
    seat = Seat(Path(swarm.folder) / "agent", swarm.hub, swarm.task, "agent", "")
    if not Path(swarm.cwd).is_dir():
        raise BadInput(
            "the folder of this swarm's commands is gone", where=swarm.folder, got=swarm.cwd, cure="swarm down"
        )
    with chdir(swarm.cwd):
        if kind_of(swarm.agent) == "command":
            build_command_agent(swarm.agent, dict(swarm.fields), seat, partial(print_line, screen))


def _find(command: Command, task: str) -> Swarm:
    swarm = _look(command, task)
    if swarm is None:
        known = [one.task for one in _all_swarms()]
        cure = nearest(task, known) if known else "evolvent hive swarm up TASK hub=URL agent=hill_climb"
        raise BadInput("there is no such swarm", where="evolvent hive swarm", got=task, cure=cure)
    return swarm


def _look(command: Command, task: str) -> Swarm | None:
    from evolvent.hive.agents.calls import read_url
    from evolvent.hive.agents.swarm_state import recall_swarm

    if folder := command.fields.get("folder"):
        found = recall_swarm(Path(folder).expanduser().absolute())
        if found is not None and found.task != task:
            raise BadInput("another task's swarm lives there", where=folder, got=task, wanted=found.task)
        return found
    hub = read_url(command.fields["hub"]) if "hub" in command.fields else None
    swarms = [one for one in _all_swarms() if one.task == task and hub in (None, one.hub)]
    if len(swarms) > 1:
        wanted = " or ".join(f"hub={one.hub}" for one in swarms)
        raise BadInput("several hubs have a swarm of this task", where="evolvent hive swarm", got=task, wanted=wanted)
    return swarms[0] if swarms else None


def _all_swarms() -> list[Swarm]:
    from evolvent.hive.agents.keys import default_home
    from evolvent.hive.agents.swarm_state import recall_all

    return recall_all(default_home())


# ---------------------------------------------------------------- fields


def _whole(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name, str(default))
    if not text.isdecimal() or not text.isascii() or int(text) < 1:
        raise BadInput("not a whole number", where=name, got=text, wanted="1 or more")
    return int(text)


def _number(fields: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(fields.get(name, default))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise BadInput("not a number of seconds", where=name, got=fields.get(name), wanted="0 or more")
    return value


def _truth(fields: Mapping[str, str], name: str) -> bool:
    text = fields.get(name, "false")
    if text not in ("true", "false"):
        raise BadInput("neither true nor false", where=name, got=text, wanted="true | false")
    return text == "true"


def _plain(task: str) -> str:
    """A task's name as that of a folder; BadInput where it is none."""
    if "/" in task or task.startswith(".") or not task:
        raise BadInput("this is no name of a task", where="evolvent hive swarm", got=ascii(task))
    return task
