import pytest

from evolvent.cli.hive_board import print_board
from evolvent.cli.screen import Screen


@pytest.mark.parametrize(("width", "run"), [(60, "#6 "), (80, "#6 "), (120, "#6 5612b21a")])
def test_a_narrow_screen_cuts_no_number(capsys, width, run):
    screen = Screen(as_json=False)
    screen.console.width = width
    stats = {"total_runs": 7, "total_official": 7, "improvements": 3}
    task = {"id": "gap", "metric": "rms", "direction": "minimize", "stats": stats, "best_sha": "0" * 40}
    row = {
        "rank": 1,
        "number": 6,
        "id": "5612b21a6cfb412a3401eaee316591912c8683cd",
        "agent_id": "hill-climb-1",
        "measured": {"value": 0.066716, "low": -0.005942, "high": 0.1394},
        "likely": {"value": 0.080142},
        "holdout": {"value": 0.24315},
        "is_kept": False,
        "tldr": "neighbours 9 -> 10",
    }
    print_board(screen, task, [row])
    out = capsys.readouterr().out
    assert run in out and "hill-climb-1" in out and "2 kept improvements" in " ".join(out.split()), out
    assert ("neighbours" in out) == (width > 100) and ("-0.005942 to 0.1394" in out) == (width > 60), out
    assert "hold-out" in out and "not kept" in out and "\u2026" not in out, out
    assert max(map(len, out.splitlines())) <= width
