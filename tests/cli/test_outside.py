"""`agent=` of run and eval, and `collect`: one file, three uses, and what a user reads where it cannot work."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from evolvent.cli.collect import Wanted, choose
from evolvent.codec import from_json
from evolvent.records import Episode, Origin, Outcome, Reference, Score, Task, Trace, Turn, said
from evolvent.serve.agent import Coached, OutsideAgent
from outside import EXAMPLES

AGENT = f"{EXAMPLES / 'tool_process.py'}:agent"
SMALL = (
    "source=chain:1", "cold_start.num_steps=4", "cold_start.tasks_per_step=4", "num_steps=2", "tasks_per_step=4",
    "group_size=2", "suite.num_tasks=6", "suite.num_tasks_above=2", "suite.num_levels=1", "num_threads=1",
    "model.depth=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of an agent from outside."""
    from evolvent.cli import main

    path = tmp_path_factory.mktemp("runs") / "outside"
    assert main(["run", *SMALL, f"agent={AGENT}", f"out={path}", "--json"]) == 0
    return path


def test_run_trains_an_agent_from_outside_and_writes_down_which(trained):
    plan = from_json((trained / "plan.json").read_text())
    assert plan.workflow == OutsideAgent(AGENT) and plan.patience_s == 0.05
    assert plan.cold_start.workflow == Coached(OutsideAgent(AGENT), 0.5) and plan.cold_start.num_steps == 4
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert {line.get("phase") for line in lines} >= {"cold start", "practice"}


def test_a_run_with_an_agent_resumes(trained, tmp_path, answered):
    import shutil

    half = tmp_path / "half"
    shutil.copytree(trained, half)
    shutil.rmtree(max((half / "checkpoints").glob("step-*")))
    again = answered("run", "--resume", half)
    assert again and from_json((half / "plan.json").read_text()).workflow == OutsideAgent(AGENT)


def test_eval_measures_the_same_file_on_any_policy(trained, answered, tiny_run):
    own = answered("eval", trained, "num_tasks=3")
    other = answered("eval", tiny_run, f"agent={EXAMPLES / 'tool_process.py'}", "num_tasks=3", "source=chain")
    assert own["num_tasks"] == other["num_tasks"] == 3 and other["num_faults"] == 0


def test_collect_keeps_what_was_asked_for_in_the_forms_of_others(trained, answered, tmp_path):
    out = tmp_path / "kept"
    told = answered("collect", trained, f"agent={AGENT}", "num_tasks=3", "k=2", f"out={out}", "keep=best")
    assert (told["num_attempts"], told["num_kept"]) == (6, 3) and told["mean_score_kept"] >= told["mean_score"]
    rows = {name: (out / name).read_text().splitlines() for name in told["files"] if name.endswith(".jsonl")}
    assert set(told["files"]) == {*rows, "episodes.parquet", "atif/"} and len(rows) == 3
    one = json.loads(rows["trl_messages.jsonl"][0])
    assert one["messages"][0]["role"] == "user" and one["tools"][0]["function"]["name"] == "calc"
    for row in map(json.loads, rows["trl_prompt_completion.jsonl"]):
        assert [m["role"] for m in row["completion"]] == ["assistant"] and row["prompt"][-1]["role"] != "assistant"
    first = json.loads(rows["verifiers.jsonl"][0])
    assert {"prompt", "completion", "reward", "answer", "task", "info", "example_id"} <= set(first)
    trajectories = sorted((out / "atif").iterdir())
    assert len(trajectories) == 3 and json.loads(trajectories[0].read_text())["schema_version"] == "ATIF-v1.7"
    assert not (out / "test").exists() and "train" in first["info"]["task_id"]


def attempt(task, sample, score, num_tokens, outcome=Outcome.OK):
    """An attempt of a score and a length."""
    mask = (False,) + (True,) * num_tokens
    turns = (Turn("t", None, "agent", 0, said("assistant", "x"), tokens=(1,) * len(mask), mask=mask),)
    trace = Trace(task, sample, "agent", "agent", turns, outcome, score=Score(score))
    made = Task(task, "f", 1, (said("user", task),), None, Reference("m:f"), Origin("test"))
    return Episode(f"{task}/{sample}", made, sample, (trace,))


def test_what_is_kept_by_hand(tmp_path):
    """Two tasks: one half solved (a short and a long right answer), one never; and an attempt that broke."""
    broke = Outcome.INFRASTRUCTURE_FAILED
    episodes = [
        attempt("a", 0, 1.0, 9), attempt("a", 1, 0.0, 2), attempt("a", 2, 1.0, 4), attempt("a", 3, 0.0, 3),
        attempt("b", 0, 0.0, 5), attempt("b", 1, 0.5, 5), attempt("b", 2, 0.0, 1, broke),
    ]  # fmt: skip

    def kept(**asked):
        return [e.episode_id for e in choose(episodes, Wanted(tmp_path, **asked))]

    assert kept() == ["a/0", "a/1", "a/2", "a/3", "b/0", "b/1"]
    assert kept(keep="correct") == ["a/0", "a/2"]
    assert kept(keep="best") == ["a/2", "b/1"] and kept(keep="shortest") == ["a/2"]
    assert kept(min_score=0.5) == ["a/0", "a/2", "b/1"] and kept(max_score=0.2) == ["a/1", "a/3", "b/0"]
    assert kept(min_mean=0.4, max_mean=0.6) == ["a/0", "a/1", "a/2", "a/3"]


def test_collect_works_without_an_agent_and_the_same_seed_writes_the_same_bytes(tiny_run, answered, tmp_path):
    def digests(out):
        answered("collect", tiny_run, "num_tasks=2", "k=2", f"out={out}", "keep=all", "--seed", "3")
        kept = sorted(p for p in out.rglob("*.json*") if p.name != "summary.json")
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}

    one, other = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert one == other and len(one) == 7


def test_collected_rows_are_read_by_trl_as_its_own(trained, answered, tmp_path):
    trl = pytest.importorskip("trl.data_utils")
    out = tmp_path / "kept"
    answered("collect", trained, f"agent={AGENT}", "num_tasks=2", f"out={out}", "forms=trl")
    for name in ("trl_messages.jsonl", "trl_prompt_completion.jsonl"):
        for line in (out / name).read_text().splitlines():
            assert trl.is_conversational(json.loads(line))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "agent={home}/agnet.py"), ("did you mean", "agent.py")),
        (("run", "agent=no-such-thing"), ("no such agent", "path/to/agent.py")),
        (("run", "agent.timeout_s=3"), ("none is named", "agent=path/to/agent.py")),
        (("run", "agent={home}/agent.py", "workflow=single"), ("an agent is the workflow",)),
        (("run", "agent={home}/agent.py", "agent.timeout_s=soon"), ("not a number", "agent.timeout_s")),
        (("run", "agent={home}/agent.py", *SMALL), ("does not run", "no key")),
        (("run", "agent={home}/mute.py", *SMALL), ("never asked its base URL", "OPENAI_BASE_URL")),
        (("run", "agent={home}/hangs.py", "agent.timeout_s=1", *SMALL), ("within 1 s", "timeout_s")),
        (("eval", "nano", "agent=no-such-thing"), ("no such agent",)),
        (("collect", "nano", "source=chain"), ("where to", "out=FOLDER")),
        (("collect", "out={home}/new"), ("collect takes one POLICY",)),
        (("collect", "nano", "out={home}/new", "keep=bets"), ("unknown keep", "best")),
        (("collect", "nano", "out={home}/new", "min_score=high"), ("not a number",)),
        (("collect", "nano", "out={home}"), ("something already",)),
        (("collect", "nano", "out={home}/new", "level=99"), ("no such level",)),
        (("collect", "nano", "out={home}/new", "max_scor=1"), ("no field",)),
    ],
)
def test_a_wrong_command_says_what_is_wrong_and_the_cure(words, expected, told, tmp_path):
    (tmp_path / "agent.py").write_text("raise SystemExit('no key')")
    (tmp_path / "mute.py").write_text("print(42)")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(30)")
    status, _, err = told(*(w.format(home=tmp_path) for w in words))
    assert status == 2 and all(part in err for part in expected), err


def test_a_plan_shown_dry_names_a_wrong_agent_before_anything_is_made(told, tmp_path):
    status, _, err = told("run", "agent=nowhere.py", "--dry-run")
    assert status == 2 and "not there" in err
    assert told("run", f"agent={AGENT}", "--dry-run")[0] == 0


def test_processes_get_a_shorter_cold_start_and_the_links_of_their_python_stay(answered):
    script = EXAMPLES / "tool_process.py"
    plan = answered("run", f"agent={script}", "--dry-run")["plan"]
    assert (plan["cold_start"]["num_steps"], plan["cold_start"]["tasks_per_step"]) == (150, 16)
    plan = answered("run", f"agent={sys.executable} {script}", "--dry-run")["plan"]
    assert plan["workflow"]["agent"].split()[0] == str(Path(sys.executable).absolute())
