"""Whole runs whose samples come from another engine than the weights that are trained."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evolvent.cli.main import main
from evolvent.cli.run import prepare
from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import Standardized
from evolvent.curriculum import Frontier
from evolvent.errors import BadInput, GateFailed, InfrastructureError
from evolvent.evals.measure import Suite
from evolvent.loop import improve
from evolvent.models import ModelSpec
from evolvent.plans import Improve, check, cold_start
from evolvent.policies import LocalPolicy
from evolvent.policies.samplers import Bounds, Twin, VllmServer
from evolvent.records import Score
from evolvent.rollouts.seat import Budgets
from evolvent.serve import background
from evolvent.store import Run
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.pairwise import Pairwise
from wire_of_vllm import make_wire

torch.set_num_threads(1)


def parity(episodes):
    """A score that differs between attempts of a model which knows nothing: whether the ids it wrote add up to odd."""
    written = [
        sum(t * m for trace in e.traces for t, m in zip(trace.tokens, trace.mask, strict=True)) for e in episodes
    ]
    return [Score(float(total % 2), why="parity") for total in written]


PLAN = Improve(
    recipe="tiny",
    source="chain",
    reward=parity,
    model=ModelSpec(depth=1, max_context=128),
    cold_start=cold_start(1, AdamW(3e-3), Likelihood(token_mean), levels=1, direct_frac=0.5, batch=2),
    curriculum=Frontier(),
    advantage=Standardized(ddof=1, eps=1e-4),
    loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.28), reduce=token_mean),
    optimizer=AdamW(3e-3),
    num_steps=3,
    tasks_per_step=2,
    group_size=4,
    budgets=Budgets(turn_tokens=8, context_tokens=128, episode_tokens=16),
    suite=Suite(num_tasks=2, num_tasks_above=1, num_tasks_during=1, num_levels=1),
    checkpoint_every=1,
    num_threads=1,
    sinks=(),
    sampler=Twin("bfloat16"),
)


def carry_out(plan, folder):
    policies = prepare(plan)
    begun = (Path(folder) / "run.json").exists()
    run = Run.reopen(folder) if begun else Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    improve(plan, policies, run)
    return run, policies["agent"]


@pytest.fixture
def wire():
    app = make_wire(_blank())
    with background(app) as url:
        yield app.state, url


def _blank():
    policy = prepare(replace(PLAN, sampler=None, seed=99))["agent"]
    assert isinstance(policy, LocalPolicy)
    return policy


def test_a_run_logs_the_distance_at_every_step_and_the_seconds_of_handing_over(tmp_path):
    run, policy = carry_out(PLAN, tmp_path / "run")
    lines = [line for line in run.metrics() if line.get("phase") == "practice" and line["num_rows"]]
    assert lines and all(0 < line["mismatch/kl_k3"] < 0.01 for line in lines)
    assert all({"mismatch/max_ratio", "mismatch/mean_gap", "mismatch/cut_share", "canary_gap"} <= set(m) for m in lines)
    assert [t for t in run.timings() if t.get("sync_s", 0) > 0]
    cold = [line for line in run.metrics() if line.get("phase") == "cold start"]
    assert not any("mismatch/kl_k3" in line for line in cold), "nobody sampled there"
    assert policy.version == 4


def test_a_run_over_http_is_refused_where_weights_did_not_arrive_and_goes_on_where_they_do(tmp_path, wire):
    state, url = wire
    plan = replace(PLAN, sampler=VllmServer(url))
    state.skips.add("reload")
    with pytest.raises(GateFailed, match="does not sample the weights"):
        carry_out(plan, tmp_path / "run")
    state.skips.clear()
    run, _ = carry_out(plan, tmp_path / "run")
    lines = [line for line in run.metrics() if "mismatch/kl_k3" in line]
    assert lines and all(line["mismatch/kl_k3"] < 1e-6 for line in lines)  # the same numbers on both sides


def test_a_server_that_dies_stops_the_run_and_nothing_is_lost(tmp_path, wire):
    state, url = wire
    plan = replace(PLAN, sampler=VllmServer(url))
    whole, _ = carry_out(plan, tmp_path / "whole")

    def die_at_step_3(event):
        if event["step"] == 3:
            state.skips.add("dies")

    policies = prepare(plan)
    run = Run.create(to_json(plan), plan.recipe, plan.seed, tmp_path / "run")
    with pytest.raises(InfrastructureError, match="EngineDeadError"):
        improve(plan, policies, run, die_at_step_3)
    assert run.last_checkpoint()[0] == 3
    state.skips.clear()
    state.policy.load_weights(run.last_checkpoint()[1] / "agent")
    again, _ = carry_out(plan, tmp_path / "run")
    assert [m for m in again.metrics() if "phase" in m][-1]["step"] == 4
    weights = [r.last_checkpoint()[1] / "agent" / "model.safetensors" for r in (whole, again)]
    assert weights[0].read_bytes() == weights[1].read_bytes(), "a stopped run ends as one that nothing stopped"


def test_a_sampler_goes_through_json_and_the_command_line(tmp_path, capsys):
    plan = replace(PLAN, sampler=VllmServer("http://127.0.0.1:8000", bounds=Bounds(max_kl=0.05)))
    assert from_json(to_json(plan)) == plan
    path = tmp_path / "plan.json"
    path.write_text(to_json(PLAN))
    main(["run", str(path), 'sampler=Twin(dtype="float32")', "--dry-run", "--json"])
    assert '"evolvent.policies.twin:Twin"' in capsys.readouterr().out
    main(["run", str(path), "sampler=Vlm", "--dry-run"])
    assert "did you mean Vllm" in capsys.readouterr().err
    main(["run", str(path), "sampler=Vllm", "--dry-run"])
    assert "Vllm()" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampler": "vllm"}, "not a sampler"),
        ({"sampler": Twin}, "not a sampler"),
        ({"loss": Pairwise(beta=0.0)}, "no place for a correction"),
        ({"seats": {"a": "one", "b": "two"}}, "holds the weights of one policy"),
        ({"sampler": {"other": Twin()}}, "parts and trained policies differ"),
    ],
)
def test_a_plan_that_cannot_be_sampled_so_is_refused(change, words):
    with pytest.raises(BadInput, match=words):
        check(replace(PLAN, **change))


def test_each_policy_has_an_engine_of_its_own():
    plan = replace(PLAN, seats={"a": "one", "b": "two"}, sampler={"one": Twin(), "two": None})
    policies = prepare(check(plan))
    assert hasattr(policies["one"], "sampler") and isinstance(policies["two"], LocalPolicy)


def test_play_with_patience_asks_the_engine_from_its_own_threads(tmp_path, wire):
    plan = replace(PLAN, cold_start=None, num_steps=1, patience_s=0.0, sampler=VllmServer(wire[1]))
    run, _ = carry_out(plan, tmp_path / "run")
    [line] = [line for line in run.metrics() if "phase" in line]
    assert line["faults"] == 0 and line["num_episodes"] == 8
