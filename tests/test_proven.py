"""Training and the trust suite: what is refused, what goes on, and that looking changes nothing."""

from dataclasses import replace

import pytest
import torch

from evolvent import Run, Suite, build_policy, improve
from evolvent.codec import from_json, to_json
from evolvent.effects.arms import bare
from evolvent.envs import Toolbox
from evolvent.errors import BadInput
from evolvent.models import ModelSpec
from evolvent.recipes import circle, ift, ttrl
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import single
from evolvent.synthesis.trust import refusal
from evolvent.tasks.copies import Copies
from evolvent.tasks.mislabelled import Mislabelled, next_digit

torch.set_num_threads(1)

PLAN = replace(
    circle.build(),
    recipe="tiny",
    source=Mislabelled(Copies(), 0.0, next_digit),  # sound, and none that our tests prove
    model=ModelSpec(depth=1, max_context=128),
    cold_start=None,
    workflow=single,
    world=Toolbox(()),
    num_steps=2,
    num_threads=1,
    tasks_per_step=2,
    group_size=2,
    budgets=Budgets(turn_tokens=8, context_tokens=64, episode_tokens=8),
    suite=Suite(num_tasks=4, num_tasks_above=2, num_tasks_during=2, num_levels=1),
    checkpoint_every=1,
    sinks=(),
)
FLAWED = replace(PLAN, source=Mislabelled(Copies(), 1.0, next_digit))


def carry_out(plan, folder, watch=lambda _: None):
    run = Run.reopen(folder) if folder.exists() else Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    improve(plan, {"agent": build_policy(plan.model, name="agent", seed=plan.seed)}, run, watch)
    return (run.path / "metrics.jsonl").read_bytes()


def test_flawed_tasks_are_refused_before_the_first_step_unless_the_plan_says_unproven(tmp_path):
    with pytest.raises(BadInput, match="do not hold what training needs"):
        carry_out(FLAWED, tmp_path / "refused")
    assert carry_out(replace(FLAWED, unproven=True), tmp_path / "told")


def test_proving_the_tasks_changes_no_byte_of_the_metrics(tmp_path):
    assert carry_out(PLAN, tmp_path / "proven") == carry_out(replace(PLAN, unproven=True), tmp_path / "unproven")


def test_a_run_that_goes_on_behind_a_checkpoint_does_not_prove_its_tasks_again(tmp_path, monkeypatch):
    def stop(event):
        if event["step"] == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        carry_out(PLAN, tmp_path / "stopped", stop)
    monkeypatch.setattr(refusal, "examine", lambda *_, **__: pytest.fail("it was examined again"))
    assert carry_out(PLAN, tmp_path / "stopped")
    with pytest.raises(pytest.fail.Exception):
        carry_out(PLAN, tmp_path / "new")


def test_unproven_goes_through_json_and_old_plans_are_read_without_it():
    told = replace(PLAN, unproven=True)
    assert from_json(to_json(told)) == told
    assert from_json(to_json(PLAN).replace(', "unproven": false', "")) == PLAN


def test_arms_of_effects_are_not_held_up():
    assert bare(PLAN).unproven


@pytest.mark.parametrize("recipe", [ttrl, ift])
def test_recipes_whose_tasks_fail_on_purpose_say_so(recipe):
    plan = recipe.build()
    assert plan.unproven
    with pytest.raises(BadInput):
        refusal.refuse_unproven(plan.source, plan.world, plan.workflow, plan.truth)
