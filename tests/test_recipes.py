"""The exam that every recipe sits."""

import dataclasses
import importlib
import json
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import evolvent.recipes
from evolvent import Run, Suite, build_policy, improve
from evolvent.cli import main
from evolvent.codec import from_json, to_json
from evolvent.credit.batch import assign
from evolvent.effects.results import read_board
from evolvent.evals.contrast import Contrast, holds, verdict
from evolvent.plans import Card, Improve, check, part
from evolvent.records import Fault, Outcome
from evolvent.rewards import judge_episodes, lift

NAMES = sorted(m.name for m in pkgutil.iter_modules(evolvent.recipes.__path__))
STAGES = "policies tasks envs rollouts rewards credit training evals synthesis curriculum models"


BOARD = read_board(Path(__file__).resolve().parents[1] / "docs" / "effects.json")


class StoppedHereError(Exception):
    """Stands for a kill: nothing of the run is tidied up."""


def recipe(name):
    return importlib.import_module(f"evolvent.recipes.{name}")


def small(name):
    """The recipe's plan with two steps of each phase on few tasks."""
    plan = recipe(name).build()
    cold = plan.cold_start and replace(plan.cold_start, num_steps=2, tasks_per_step=4)
    return replace(
        plan,
        cold_start=cold,
        num_steps=2,
        tasks_per_step=4,
        group_size=min(plan.group_size, 2),
        checkpoint_every=1,
        keep_checkpoints=9,
        num_threads=1,
        sinks=(),
        suite=replace(plan.suite, num_tasks=8, num_tasks_above=4, num_tasks_during=4, num_levels=2),
    )


def carry_out(plan, folder, stop_at=None):
    """A run from its beginning, or from where its folder stands; `stop_at` kills it in the middle of that step."""

    def watch(event):
        if event["step"] == stop_at:
            raise StoppedHereError

    torch.set_num_threads(1)
    policies = {name: build_policy(plan.model, name=name, seed=plan.seed) for name in set(plan.seats.values())}
    is_begun = (folder / "run.json").exists()
    run = Run.reopen(folder) if is_begun else Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    try:
        improve(plan, policies, run, watch)
    except StoppedHereError:
        assert stop_at is not None
    return run


def content(run):
    """Everything that a run promises to write in the same bytes."""
    names = ["metrics.jsonl", *(p.relative_to(run.path) for p in sorted(run.path.glob("reports/*.json")))]
    weights = sorted(run.path.glob("checkpoints/*/*/*.safetensors"))
    return {str(n): (run.path / n).read_bytes() for n in [*names, *(w.relative_to(run.path) for w in weights)]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished small run of each recipe, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = carry_out(small(name), tmp_path_factory.mktemp("exam") / name)
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


def test_the_board_names_recipes_that_exist():
    assert set(BOARD) <= set(NAMES)


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
    assert plan.suite == Suite() or plan.suite.num_tasks >= 512


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
    assert [e.traces for e in broken[1:]] == [e.traces for e in whole[1:]]
    for policy in plan.trained:
        advantage = part(plan.advantage, policy)
        # a baseline of the whole batch must move as if the broken attempt had never been made
        alone = whole[1:] if hasattr(advantage, "across") else whole
        before, after = (assign(e, policy, advantage).credits for e in (alone, broken))
        others = {key for key in before if not key[0].startswith(episodes[0].task.task_id + "/")}
        assert {key: before[key] for key in others} == {key: after[key] for key in others}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name, finished, tmp_path):
    assert content(carry_out(small(name), tmp_path / name)) == content(finished(name))


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_another_run(name, finished, tmp_path):
    other = carry_out(replace(small(name), seed=1, num_steps=0), tmp_path / name)
    assert other.metrics()[0] != finished(name).metrics()[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [1, 2, 4])
def test_stopped_and_resumed_equals_not_stopped(name, step, finished, tmp_path):
    carry_out(small(name), tmp_path / name, stop_at=step)
    assert content(carry_out(small(name), tmp_path / name)) == content(finished(name))
