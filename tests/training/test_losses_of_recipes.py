"""What the recipes' losses do to a policy, on rows that carry signal."""

import importlib
import math
import pkgutil
from dataclasses import replace

import pytest
import torch

import evolvent.recipes
from evolvent.plans import part
from evolvent.training.losses import Likelihood, PolicyLoss
from evolvent.training.optim import AdamW
from evolvent.training.update import update

NAMES = sorted(m.name for m in pkgutil.iter_modules(evolvent.recipes.__path__))


def loss_of(name):
    plan = importlib.import_module(f"evolvent.recipes.{name}").build()
    return part(plan.loss, plan.trained[0])


@pytest.fixture(scope="module")
def train(make_policy, sample_rows, batch_of):
    """The numbers and the weights after one update on pairs of attempts that the policy sampled itself."""
    rows = [replace(row, group=(str(i // 2), "agent")) for i, row in enumerate(sample_rows(make_policy()))]

    def once(loss):
        policy = make_policy()
        numbers = update(
            policy,
            AdamW(lr=1e-3).begin(policy.named_parameters()),
            batch_of(rows),
            loss,
            micro_tokens=100,
            max_logprob_gap=1e-3,
            reference=make_policy(seed=5).copy() if "reference_N" in getattr(loss, "needs", ()) else None,
        )
        return numbers, torch.cat([p.detach().flatten() for p in policy.parameters()])

    return once


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_learns_from_rows_with_signal(name, train, make_policy):
    loss = loss_of(name)
    if not set(getattr(loss, "needs", ())) <= {"reference_N", "pair_P2", "sampler_N"}:
        pytest.skip("needs more than rows")
    numbers, weights = train(loss)
    assert numbers["num_rows"] == 6 and numbers["clip_share"] == 0
    assert math.isfinite(numbers["loss"]) and numbers["grad_norm"] > 1e-3
    before = torch.cat([p.detach().flatten() for p in make_policy().parameters()])
    assert (weights != before).float().mean() > 0.5


def test_with_one_update_a_batch_methods_that_differ_in_their_bounds_are_one(train):
    """Ratios are exactly 1 then: what sets these methods apart shows only where updates lag behind sampling."""
    circle = train(loss_of("circle"))[1]
    assert torch.equal(train(loss_of("dapo"))[1], circle)
    assert torch.equal(train(loss_of("cispo"))[1], circle)
    gspo, grpo = loss_of("gspo"), loss_of("grpo")
    assert isinstance(grpo, PolicyLoss) and isinstance(gspo, PolicyLoss) and grpo.kl > 0
    assert torch.allclose(train(gspo)[1], train(replace(grpo, kl=0.0))[1], atol=1e-5)


def test_on_policy_reinforce_is_the_likelihood_weighted_by_credit(train):
    rloo = loss_of("rloo")
    assert torch.allclose(train(rloo)[1], train(Likelihood(rloo.reduce))[1], atol=1e-6)
