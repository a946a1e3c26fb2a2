import json
import math

import pytest

from evolvent.evals.summary import summarize_run
from evolvent.records import Cell, Estimate, Report
from evolvent.store import Run


def cell(level, scores, tool):
    ids = tuple(f"{level}-{i}" for i in range(len(scores)))
    right = tuple(s * t for s, t in zip(scores, tool, strict=True))
    return Cell("chain", level, ids, tuple(scores), tuple(tool), right, tuple(scores), (3.0,) * len(ids))


def keep(run, step, name, cells, **metrics):
    made = {k: Estimate(v, v, v, len(cells[0].scores)) for k, v in metrics.items()}
    run.keep_report(Report(step, name, tuple(cells), made))


def make(path, seed, after, tool, *, control=False):
    """A run by hand: two steps of cold start on level 1, three of practice on levels 1 and 2."""
    run = Run.create("{}\n", "sft" if control else "circle", seed, path)
    for step, (phase, tasks, used, levels) in enumerate(
        [("cold start", 4, 0.5, {"chain:1": 4}), ("cold start", 4, 1.0, {"chain:1": 4}),
         ("practice", 8, 1.0, {"chain:1": 8}), ("practice", 8, 1.0, {"chain:1": 4, "chain:2": 4})], 1
    ):  # fmt: skip
        run.log(
            step, {"phase": phase, "num_episodes": tasks, "tool_use": used, "num_written": 10 * step, "levels": levels}
        )
        run.time(step, {"play_s": 1.0, "update_s": 0.5})
    zeros, ones = [0.0] * 40, [1.0] * 40
    keep(run, 2, "before", [cell(1, zeros, [0.5] * 40), cell(2, zeros, zeros), cell(3, zeros, zeros)],
         sampled=0.0, tool_use=0.5, accuracy_given_tool=0.0)  # fmt: skip
    keep(run, 2, "greedy-before", [cell(1, zeros, zeros)], greedy=0.1)
    keep(run, 2, "tool-forced", [cell(1, [1.0, 0.0] * 20, ones)], tool_forced=0.5)
    keep(run, 2, "best-of-k", [cell(1, zeros, zeros)], best_of_k=0.6)
    keep(run, 4, "after", [cell(1, ones, ones), cell(2, after, tool), cell(3, after, tool)],
         sampled=1.0, tool_use=1.0, accuracy_given_tool=1.0)  # fmt: skip
    keep(run, 4, "greedy-after", [cell(1, ones, ones)], greedy=1.0)
    return run


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "circle-0-1", 0, [1.0] * 30 + [0.0] * 10, [1.0] * 40)


@pytest.fixture
def control(tmp_path):
    return make(tmp_path / "sft-0-1", 0, [1.0] * 10 + [0.0] * 30, [1.0] * 40, control=True)


def test_a_summary_says_what_the_files_say(run):
    made = summarize_run(run)
    assert made["run"] == str(run.path)
    assert made["cold_start"] == {"tasks": 8, "tokens": 30, "seconds": 3.0, "share_with_tool": 0.75}
    assert made["practice_tokens"] == 70
    assert made["before"] == {
        "sampled": 0.0, "greedy": 0.1, "tool_use": 0.5,
        "accuracy_given_tool": 0.0, "tool_forced": 0.5, "best_of_k": 0.6,
    }  # fmt: skip
    assert made["after"] == {"sampled": 1.0, "greedy": 1.0, "tool_use": 1.0, "accuracy_given_tool": 1.0}
    assert (made["difference"]["value"], made["difference"]["num"]) == (1.0, 40)
    assert made["tool_forcing_share"] == 0.5
    assert made["checkpoint"] is None
    assert made["seconds"] == pytest.approx(6.0)
    json.dumps(made, allow_nan=False)


def test_levels_tell_the_start_from_what_was_reached(run):
    rows = {r["level"]: r for r in summarize_run(run)["levels"]}
    assert [rows[n]["start"] for n in (1, 2, 3)] == [True, False, False]
    assert [rows[n]["in_cold_start"] for n in (1, 2, 3)] == [True, False, False]
    assert [rows[n]["reached"] for n in (1, 2, 3)] == [True, True, False]  # level 3 was never practised


def test_skill_is_claimed_only_beside_a_control(run, control):
    alone, beside = summarize_run(run), summarize_run(run, control)
    assert alone["skill"] is None
    assert alone["verdict"].startswith("strategy, not skill: forcing a tool call at the start alone reproduces 50%")
    # levels 2 and 3 were not in the cold start: 30 of 40 right with the tool against 10 of 40
    assert beside["skill"]["value"] == pytest.approx(0.5)
    assert beside["skill"]["num"] == 80
    assert beside["control"] == str(control.path)
    assert beside["verdict"].startswith("strategy and skill")
    assert summarize_run(control, run)["verdict"].startswith("strategy, not skill")


def test_a_run_that_has_not_ended_has_a_summary_without_a_difference(tmp_path):
    run = Run.create("{}\n", "circle", 0, tmp_path / "new")
    made = summarize_run(run)
    assert "difference" not in made
    assert made["cold_start"]["share_with_tool"] == 0.0
    assert set(made["before"].values()) == {None}


def test_a_metric_that_is_not_a_number_is_null(run):
    keep(run, 4, "after", [cell(1, [0.0] * 40, [0.0] * 40)], sampled=0.0, tool_use=0.0, accuracy_given_tool=math.nan)
    made = summarize_run(run)
    assert made["after"]["accuracy_given_tool"] is None
    assert made["verdict"].startswith("no gain")
    json.dumps(made, allow_nan=False)
