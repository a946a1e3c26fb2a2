"""What `evolvent hive swarm` shows: a row for each agent, and what they say as they say it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evolvent.cli.screen import Screen
from evolvent.cli.words import one_line, printable

if TYPE_CHECKING:
    from evolvent.hive.agents.swarm_state import Swarm

COLUMNS = ("agent", "pid", "state", "runs", "best", "up", "last line")
FOLLOW_S, MAX_STEP = 0.5, 1 << 20


def tell_swarm(swarm: Swarm, counts: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """A swarm for a script: what is known here of each agent, and what the hub counts."""
    from evolvent.hive.agents.swarm import read_tail
    from evolvent.hive.agents.swarm_state import LOG, tell_cell

    agents = []
    for cell in swarm.cells:
        row = (counts or {}).get(cell.agent, {})
        last = read_tail(cell.path / LOG, 1, 4096)
        agents.append(
            {
                **tell_cell(cell),
                "runs": row.get("total_runs"),
                "best": row.get("best_score"),
                "uptime_s": max(0.0, time.time() - cell.began_at) if cell.is_alive else None,
                "last": last[0] if last else "",
            }
        )
    return {"task": swarm.task, "hub": swarm.hub, "folder": swarm.folder, "agent": swarm.agent, "agents": agents}


def make_table(agents: list[dict[str, Any]]) -> Any:
    """The agents as rows."""
    from rich.table import Table
    from rich.text import Text

    rows = [_row(one) for one in agents]
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for place, name in enumerate(COLUMNS):
        # only what an agent said last may be cut
        longest = max(len(name), *(len(row[place]) for row in rows)) if rows and name != COLUMNS[-1] else None
        side: Literal["left", "right"] = "right" if name in ("pid", "runs", "best", "up") else "left"
        table.add_column(name, justify=side, no_wrap=True, min_width=longest)
    for row in rows:
        table.add_row(*map(Text, row))  # what an agent says is no markup
    return table


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    state = f"failed ({one['exit_status']})" if one["state"] == "failed" else one["state"]
    runs = "-" if one["runs"] is None else str(one["runs"])
    best = "-" if one["best"] is None else f"{one['best']:.5g}"
    pid = str(one["pid"]) if one["state"] == "running" else "-"
    return one["agent"], pid, state, runs, best, _duration(one["uptime_s"]), one_line(one["last"], 100)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600} h {whole % 3600 // 60:02d}"


def labelled(agent: str, line: str, agents: Collection[str]) -> str:
    """A line of a log; with the agent before it where there are several."""
    return printable(line) if len(agents) == 1 else f"{agent:<{max(map(len, agents))}}  {printable(line)}"


def follow(screen: Screen, paths: Mapping[str, Path]) -> None:
    """New lines as they come, until Ctrl-C."""
    read = {agent: path.stat().st_size if path.exists() else 0 for agent, path in paths.items()}
    while True:
        time.sleep(FOLLOW_S)
        for agent, path in paths.items():
            lines, read[agent] = _read_on(path, read[agent])
            for line in lines:
                print_line(screen, labelled(agent, line, paths))


def print_line(screen: Screen, text: str) -> None:
    """A line as it is: what others wrote is no markup."""
    screen.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _read_on(path: Path, start: int) -> tuple[list[str], int]:
    """The whole lines behind a place in a file, and where they end."""
    try:
        with path.open("rb") as file:
            start = start if start <= file.seek(0, 2) else 0  # a shorter file was begun anew
            file.seek(start)
            data = file.read(MAX_STEP)
    except OSError:
        return [], start
    whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == MAX_STEP else b"")
    return whole.decode(errors="replace").splitlines(), start + len(whole)
