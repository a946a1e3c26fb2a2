"""Attacks on those who work for a hub: workers, terminals, and what an agent's command can reach from its room."""

import io

import pytest
from rich.console import Console

from evolvent.cli.hive_board import print_board
from evolvent.cli.hive_work import _say
from evolvent.cli.screen import Screen
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import Settings, open_hub
from evolvent.hive.noise import KeepRule
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import Shelf
from evolvent.hive.work import Done, Worker
from evolvent.serve.door import background
from hive.forge import LABELS, PREDICT, SCORE
from hive.hub.desk import NAME, Desk

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
    row = {"rank": 1, "measured": interval, "likely": interval, "holdout": None, "id": "a" * 40, "agent_id": "eve"}
    stats = {"total_runs": 1, "total_official": 1, "improvements": 0}
    task = {"id": NAME, "metric": SPITE, "direction": "maximize", "stats": stats, "best_sha": "b" * 40}
    print_board(screen, task, [row | {"is_kept": None, "tldr": SPITE}])
    _say(screen, Done(NAME, "a" * 40, "measure", f"invalid: {SPITE}", 1.0))
    shown = written.getvalue()
    assert "click" in shown and "[link=http://evil.example]x[/link]" in shown, "it is shown as it was written"
    for odd in ("\x1b]8", "\x1b[2J", "\x1b[31m", "\x9b", "\x07", "\u202e"):
        assert odd not in shown, ascii(odd)
