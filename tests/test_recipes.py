"""The exam that every recipe sits."""

import dataclasses
import json
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import evolvent.recipes
import exam
from evolvent import Suite
from evolvent.cli import main
from evolvent.cli.effect import effect_of
from evolvent.codec import from_json, to_json
from evolvent.credit.batch import assign
from evolvent.effects.results import read_board
from evolvent.evals.contrast import Contrast, holds, verdict
from evolvent.plans import Card, Improve, check, part
from evolvent.records import Fault, Outcome
from evolvent.rewards import judge_episodes, lift
from evolvent.seeds import stream
from exam import carry_out, content, recipe, small

NAMES = sorted(m.name for m in pkgutil.iter_modules(evolvent.recipes.__path__))
# what hardly depends on the recipe is asked of one of each kind, and of all with --slow
KINDS = ("circle", "marti_chain", "openprm", "ppo", "ssrl", "vhg")
FIRST = [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in NAMES]
TOGETHER = "name"  # one process has all tests of a recipe, which share its finished run: conftest.py
KILLED = ("vhg",)  # two policies that learn; test_loop.py kills one agent at many places
STAGES = "policies tasks envs rollouts rewards credit training evals synthesis curriculum models"


BOARD = read_board(Path(__file__).resolve().parents[1] / "docs" / "effects.json")


@pytest.fixture(scope="module")
def num_writes():
    """How often each finished run changed a file."""
    return {}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, num_writes):
    """A finished small run of each recipe, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name], num_writes[name] = carry_out(small(name), tmp_path_factory.mktemp("exam") / name)
        return made[name]

    return get


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_complete(name):
    card = recipe(name).CARD
    assert isinstance(card, Card)
    assert card.name == name
    assert card.title and card.paper and card.claim and recipe(name).__doc__
    assert card.changes and set(card.changes) <= set(STAGES.split())


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_on_the_card_is_the_one_that_was_measured(name):
    entry, card = BOARD.get(name), recipe(name).CARD
    if entry is None:
        assert card.verdict in ("", "not measured"), f"nobody measured this; cure: evolvent effect {name} out=docs"
        return
    assert hasattr(recipe(name), "effect"), "what was measured can be measured again"
    assert card.verdict == entry["verdict"], "the claim is stale: the card says what the board says"
    assert entry["verdict"] == verdict([Contrast(**one) for one in entry["contrasts"]])
    assert card.verdict == "shown" or card.note, "an honest negative says what was tried"
    for one in entry["contrasts"]:
        assert len(one["per_seed"]) == len(entry["seeds"]) >= 3
        assert holds(Contrast(**one), one["low"], one["high"]) or not one["ok"]


def test_the_board_and_the_exam_name_recipes_that_exist():
    assert set(KILLED) <= set(NAMES)
    for name in set(BOARD) - set(NAMES):  # an experiment beside the recipes
        assert effect_of(BOARD[name]["measures"]) is not None, name
    assert exam.BY_ANSWER + exam.BY_ROLE and {*exam.BY_ANSWER, *exam.BY_ROLE} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(recipe(name), "effect")])
def test_the_effect_shows_what_the_card_says(name, capsys):
    assert main(["effect", name, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["sign_ok"] == (recipe(name).CARD.verdict == "shown")


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_frozen_valid_and_survives_json(name):
    plan = check(recipe(name).build())
    assert isinstance(plan, Improve)
    assert plan == recipe(name).build() == from_json(to_json(plan))
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seed = 1
    families = 1 if isinstance(plan.source, str) else len(plan.source.families)
    assert plan.suite == Suite() or plan.suite.num_tasks * families >= 512


@pytest.mark.parametrize("name", NAMES)
def test_measurement_lets_the_policy_speak_for_itself(name, finished):
    reports = [r for r in finished(name).reports() if r.name in ("before", "after")]
    assert len(reports) == 2
    for report in reports:  # after two steps nothing is known; whoever recites solutions is always right
        assert report.metrics["sampled"].value < 1.0, "measurement plays worked solutions"
    episodes = [e for e in finished(name).episodes() if e.task.split == "test"]
    assert episodes
    spoken = [turn for e in episodes for t in e.traces for turn in t.turns if turn.message.role == "assistant"]
    assert not any(turn.finish == "recited" for turn in spoken)


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_write_every_file(name, finished):
    run = finished(name)
    plan = small(name)
    there = {p.name for p in run.path.iterdir()}
    assert {"plan.json", "run.json", "metrics.jsonl", "timings.jsonl", "episodes", "reports", "checkpoints"} <= there
    assert {line["step"] for line in run.metrics()} == set(range(1, plan.num_cold + plan.num_steps + 1))
    assert run.last_checkpoint()[0] == plan.num_cold + plan.num_steps
    assert from_json(run.plan_json) == plan
    assert run.episodes()
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        assert not [key for key in json.loads(line) if key.endswith("_s")], "a clock value among the numbers"


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_in_one_rollout_changes_nobody_elses_score(name, finished):
    plan, run = small(name), finished(name)
    episodes = run.episodes(run.last_checkpoint()[0], name="")
    judge = lift(plan.reward)
    fault = Fault("Planted", "the endpoint went away")
    hurt = [replace(t, outcome=Outcome.INFRASTRUCTURE_FAILED, fault=fault, score=None) for t in episodes[0].traces]
    whole = judge_episodes(judge, episodes)
    broken = judge_episodes(judge, [replace(episodes[0], traces=tuple(hurt)), *episodes[1:]])
    assert broken[0].traces[0].score is None
    alone = getattr(judge, "judges_alone", False)  # else siblings are judged together, and may change
    apart = [i for i, e in enumerate(episodes) if i and (alone or e.task.task_id != episodes[0].task.task_id)]
    assert [broken[i].traces for i in apart] == [whole[i].traces for i in apart]
    for policy in plan.trained:
        advantage = part(plan.advantage, policy)
        # a baseline of the whole batch must move as if the broken attempt had never been made
        rest = whole[1:] if hasattr(advantage, "across") else whole
        before, after = (assign(e, policy, _awake(advantage)).credits for e in (rest, broken))
        others = {key for key in before if not key[0].startswith(episodes[0].task.task_id + "/")}
        assert {key: before[key] for key in others} == {key: after[key] for key in others}


def _awake(advantage):
    """One that remembers, with no memory yet."""
    return advantage.begin() if hasattr(advantage, "begin") else advantage


@pytest.mark.parametrize("name", NAMES)
def test_an_update_is_made(name, finished):
    plan = small(name)
    lines = [line for line in finished(name).metrics() if line.get("phase") == "practice"]
    keys = ["num_rows"] if len(plan.trained) == 1 else [f"{policy}/num_rows" for policy in plan.trained]
    for key in keys:
        assert any(line[key] > 0 for line in lines), "the exam trains nothing: no differences in what was earned"


@pytest.mark.parametrize("name", FIRST)
def test_a_hugging_face_checkpoint_takes_the_place_of_the_small_model(name, tiny_qwen3, tmp_path):
    plan = small(name)
    model = dict.fromkeys(plan.model, str(tiny_qwen3)) if isinstance(plan.model, Mapping) else str(tiny_qwen3)
    run, _ = carry_out(replace(plan, model=model), tmp_path / name)
    assert run.last_checkpoint()[0] == plan.num_cold + plan.num_steps


@pytest.mark.parametrize("name", FIRST)
def test_another_seed_gives_another_run(name, finished, tmp_path):
    other, _ = carry_out(replace(small(name), seed=1, num_steps=0), tmp_path / name)
    assert other.metrics()[0] != finished(name).metrics()[0]


@pytest.mark.parametrize("name", FIRST)
def test_stopped_in_a_write_and_resumed_gives_the_same_bytes_as_not_stopped(name, finished, num_writes, tmp_path):
    whole = content(finished(name))
    place = stream(0, "stopped", name).randrange(1, num_writes[name] + 1)
    carry_out(small(name), tmp_path / name, stop_at=place)
    assert content(carry_out(small(name), tmp_path / name)[0]) == whole, f"stopped at write {place}"


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in KILLED else pytest.mark.slow) for n in NAMES])
def test_killed_and_resumed_gives_the_same_bytes_as_not_killed(name, finished, num_writes, tmp_path):
    whole = content(finished(name))
    place = stream(0, "killed", name).randrange(1, num_writes[name] + 1)
    command = [sys.executable, str(Path(exam.__file__)), name, str(tmp_path / name), str(place)]
    killed = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert content(carry_out(small(name), tmp_path / name)[0]) == whole, f"killed at write {place}"
