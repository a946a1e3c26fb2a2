"""Seats and contexts for agents that need no hub."""

import sys
from pathlib import Path

from evolvent.hive.agents.command_agent import CommandAgent
from evolvent.hive.agents.files import Seat
from evolvent.hive.agents.proposer import Context, Desk
from evolvent.hive.agents.room import Isolate

TOLD = {"id": "packing", "name": "packing", "metric": "fill", "direction": "maximize", "mutable": ["solve.py"]}
BASE = "b" * 40


def make_seat(folder, agent="ant"):
    """The folder of an agent with a work tree in it."""
    seat = Seat(Path(folder) / agent, "http://127.0.0.1:9", "packing", agent, f"token-of-{agent}")
    (seat.folder / "tree").mkdir(parents=True)
    (seat.folder / "tree" / "solve.py").write_text("print(1)\n")
    (seat.folder / "tree" / "program.md").write_text("Pack.\n")
    return seat


def make_agent(seat, program, isolate=Isolate.BWRAP, **more):
    """An agent whose command is a Python program; `said` is what it tells."""
    said = []
    path = seat.folder / "tree" / "agent.py"
    path.write_text(program)
    agent = CommandAgent(f"{sys.executable} agent.py", seat, isolate, tell=said.append, **more)
    return agent, said


def make_context(**more):
    """What the agent sees; its desk has nothing on it."""

    def refuse(*_):
        raise AssertionError("this agent needs no git")

    given = {"task": TOLD, "agent": "ant", "program": "Pack.", "base": BASE, "desk": Desk(refuse, refuse)}
    return Context(**(given | more))


def propose(agent, seat, **more):
    """One try in the seat's tree."""
    from evolvent.seeds import stream

    return agent.propose(seat.folder / "tree", make_context(**more), stream(0, "test"))
