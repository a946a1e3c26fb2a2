"""Attacks on those who work for a hub: workers, terminals, and what an agent's command can reach from its room."""

import io
import json
import os
import sys

import pytest
from rich.console import Console

from evolvent.cli.hive_board import print_board
from evolvent.cli.hive_work import _say
from evolvent.cli.screen import Screen
from evolvent.hive.agents.command_agent import CommandAgent
from evolvent.hive.agents.room import Isolate, probe
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import Settings, open_hub
from evolvent.hive.noise import KeepRule
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import Shelf
from evolvent.hive.work import Done, Worker
from evolvent.serve.door import background
from hive.forge import LABELS, PREDICT, SCORE
from hive.hub.desk import NAME, Desk
from hive.seats import make_seat, propose

SPITE = "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07\x1b[2J\x1b[31m\x9b31m[/][link=http://evil.example]x[/link][bold]\u202e"
# a scorer that quotes what it was given, and one that ends when it is asked about a nine
QUOTES = SCORE.replace('raise Invalid("ids and labels are whole numbers")', 'raise Invalid(str(rows[0]["label"]))')
ENDS = SCORE.replace(
    "    return [float", "    if rows[0]['label'] == 9:\n        import os; os._exit(3)\n    return [float"
)


@pytest.fixture
def hub(tmp_path):
    opened = open_hub(tmp_path / "hub", settings=Settings(rule=KeepRule(0.9, num_spare=0)))
    yield opened
    opened.close()


def work_at(desk):
    with background(make_app(desk.hub)) as url:
        return Worker(url, desk.user("worker")[0], Bench(Shelf(desk.folder / "w"))).run(until_idle=True)


def test_half_a_character_in_a_reason_ends_no_worker(hub, tmp_path):
    """JSON can say half a character, and no connection can carry it."""
    desk = Desk(hub, tmp_path, "eve", "ann", more={"sealed/score.py": QUOTES})
    bad = PREDICT + "predict(['\\ud800' + chr(27) + '[31m'] * 10)\n"
    assert "ud800" in bad
    mine = desk.commit("eve", "half", files={"solve.py": bad})
    desk.submit("eve", mine)
    hers = desk.enter("ann", "honest")
    assert work_at(desk) == 3, "the baseline, the forged run and the honest one behind it"
    assert desk.run(mine)["status"] == "failed" and desk.run(hers)["status"] == "success"


def test_a_best_that_breaks_the_scorer_once_it_stands_is_beaten(hub, tmp_path):
    desk = Desk(hub, tmp_path, "eve", "ann", more={"sealed/score.py": ENDS})
    trap = "import json\nfirst = json.load(open('inputs/questions.json'))[0]['x']\n" + PREDICT
    trap += "predict([1] * 9 + [0] if first == 54 else [9] * 10)\n"
    mine = desk.commit("eve", "trap", files={"solve.py": trap})
    desk.submit("eve", mine)
    desk.work(lambda sha, kind: 0.6 if sha == mine else 0.5)
    assert desk.row()["best_sha"] == mine
    hers = desk.commit("ann", "right", files={"solve.py": PREDICT + f"predict({LABELS})\n"})
    desk.submit("ann", hers)
    for _ in range(2):
        work_at(desk)
        desk.hasten()
    work_at(desk)
    assert desk.row()["best_sha"] == hers, desk.jobs()


# ---------------------------------------------------------------- terminals


def test_a_board_shows_words_of_agents_and_obeys_none_of_them():
    screen, written = Screen(as_json=False), io.StringIO()
    screen.console = Console(file=written, force_terminal=True, width=200)
    interval = {"value": 0.5, "low": None, "high": None}
    row = {
        "rank": 1,
        "number": 2,
        "measured": interval,
        "likely": interval,
        "holdout": None,
        "id": "a" * 40,
        "agent_id": "eve",
    }
    stats = {"total_runs": 1, "total_official": 1, "improvements": 0}
    task = {"id": NAME, "metric": SPITE, "direction": "maximize", "stats": stats, "best_sha": "b" * 40}
    print_board(screen, task, [row | {"is_kept": None, "tldr": SPITE}])
    _say(screen, Done(NAME, "a" * 40, "measure", f"invalid: {SPITE}", 1.0))
    shown = written.getvalue()
    assert "click" in shown and "[link=http://evil.example]x[/link]" in shown, "it is shown as it was written"
    for odd in ("\x1b]8", "\x1b[2J", "\x1b[31m", "\x9b", "\x07", "\u202e"):
        assert odd not in shown, ascii(odd)


# ---------------------------------------------------------------- the room of an agent's command

SPY = """
import ctypes, json, os, pathlib, subprocess, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])

def fails(action):
    try:
        return action() in (-1, None)
    except OSError:
        return True

def write(path):
    pathlib.Path(path).write_text("x")
    return "written"

def megabytes(folder):
    found = os.statvfs(folder)
    return found.f_blocks * found.f_frsize >> 20

print(json.dumps({
    "signal": fails(lambda: os.kill(pid, 0) or "sent"),
    "trace": fails(lambda: libc.ptrace(16, pid, 0, 0)),
    "mount": fails(lambda: libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None)),
    "unmount": fails(lambda: libc.umount2(b"/proc", 2)),
    "user namespace": fails(lambda: libc.unshare(0x10000000)),
    "mount namespace": fails(lambda: libc.unshare(0x20000)),
    "core pattern": fails(lambda: write("/proc/sys/kernel/core_pattern")),
    "oom score": fails(lambda: write("/proc/self/oom_score_adj")),
    "system": fails(lambda: write("/usr/bin/x")),
    "root": fails(lambda: write("/x")),
    "devices": fails(lambda: write("/dev/x")),
    "room in memory": max(map(megabytes, ("/dev/shm", "/tmp", "/var/tmp"))) <= 1024,
}), flush=True)
subprocess.Popen(["sleep", "987"], start_new_session=True, env={})
"""


@pytest.mark.skipif(bool(probe()), reason=f"no room for an agent here: {probe()}")
def test_a_command_changes_nothing_outside_of_its_room_fills_no_memory_and_leaves_no_daemon(tmp_path):
    import psutil

    seat = make_seat(tmp_path)
    (seat.folder / "tree" / "spy.py").write_text(SPY)
    agent = CommandAgent(f"{sys.executable} spy.py {os.getpid()}", seat, Isolate.BWRAP, tell=lambda _: None)
    propose(agent, seat)
    held = json.loads(seat.log.read_text().splitlines()[-1])
    assert all(held.values()), held
    left = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "987"]]
    assert left == []
