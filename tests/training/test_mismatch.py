"""The distance between sampler and trainer: its numbers, its bound, and the weight that corrects for it once."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput, GateFailed
from evolvent.policies.elsewhere import SampledElsewhere
from evolvent.policies.sampler import Bounds
from evolvent.policies.twin import Twin
from evolvent.training.gains import Truncated
from evolvent.training.losses import (
    Clip,
    Likelihood,
    PolicyLoss,
    Tokens,
    Totals,
    per_sequence,
    per_token,
    sequence_mean,
    token_mean,
)
from evolvent.training.mismatch import Mismatch, corrected, needs_correction
from evolvent.training.optim import AdamW
from evolvent.training.pairwise import Pairwise
from evolvent.training.update import update

RL = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean)
WIDE = Bounds(most=2.0, max_kl=100.0)


def summed(ratios, bounds=WIDE):
    found = Mismatch(bounds)
    found.add(torch.full((len(ratios),), -3.0), -3.0 + torch.tensor(ratios).log())
    return found


def test_the_numbers_worked_by_hand():
    # r = 4, 1, 1/2: log r = 1.386, 0, -0.693; mean -log r = -0.231; r - 1 - log r = 1.614, 0, 0.193; one of three > 2
    told = summed([4.0, 1.0, 0.5]).told()
    assert told["mismatch/kl_k1"] == pytest.approx(-math.log(2) / 3, abs=1e-6)
    assert told["mismatch/kl_k3"] == pytest.approx((3 - math.log(4) + math.log(2) - 0.5) / 3, abs=1e-6)
    assert told["mismatch/mean_gap"] == pytest.approx(math.log(8) / 3, abs=1e-6)
    assert told["mismatch/max_ratio"] == pytest.approx(4.0, abs=1e-5)
    assert told["mismatch/cut_share"] == pytest.approx(1 / 3)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), st.integers(0, 20))
def test_micro_batches_add_up_to_the_batch(ratios, place):
    apart = Mismatch(WIDE)
    for part in (ratios[:place], ratios[place:]):
        apart.add(torch.zeros(len(part)), torch.tensor(part).log())
    assert apart.told() == pytest.approx(summed(ratios).told(), rel=1e-3, abs=1e-5)
    assert apart.told()["mismatch/kl_k3"] >= 0


def test_both_estimates_tend_to_the_divergence():
    # p = sampler, q = trainer over three tokens; KL(p, q) = sum p log(p / q)
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.2])
    drawn = torch.multinomial(p, 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    found = Mismatch(WIDE)
    found.add(p.log()[drawn], q.log()[drawn])
    divergence = float((p * (p / q).log()).sum())
    assert found.told()["mismatch/kl_k1"] == pytest.approx(divergence, abs=2e-3)
    assert found.told()["mismatch/kl_k3"] == pytest.approx(divergence, abs=1e-3)


def test_the_weight_makes_an_expectation_under_the_sampler_one_under_the_trainer():
    # E_p[min(q / p, 2) f] = E_q[f] where no ratio is cut; with q / p = 5/2 on the last token, its share is cut to 2 p
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.1, 0.5])
    worth = torch.tensor([1.0, -2.0, 3.0])
    tokens = Tokens(q.log(), q.log(), worth, torch.arange(3), 3, sampler_N=p.log())
    assert Truncated(2.0)(tokens).tolist() == pytest.approx([0.8, 1 / 3, 2.0])
    assert float((p * Truncated(9.0)(tokens) * worth).sum()) == pytest.approx(float((q * worth).sum()))
    assert float((p * Truncated(2.0)(tokens) * worth).sum()) == pytest.approx(0.4 - 0.2 + 2 * 0.2 * 3)


@pytest.mark.parametrize("ratio", [per_token, per_sequence])
def test_the_samplers_numbers_come_in_once(ratio):
    """GSPO's known mistake: the sampler in the ratio and again in the weight. Old and new trainer equal: ratio 1."""
    loss = corrected(PolicyLoss(ratio, Clip(0.2, 0.28), sequence_mean), Bounds(most=2.0))
    now = torch.tensor([-1.0, -2.0, -0.5]).requires_grad_()
    sampler = now.detach() - torch.tensor([1.5, 0.5, 4.0]).log()  # weights 1.5, 0.5 and 4 cut to 2
    tokens = Tokens(now, now.detach(), torch.tensor([1.0, 1.0, -1.0]), torch.tensor([0, 0, 1]), 2, sampler_N=sampler)
    value = loss(tokens, Totals(3, 2))
    # rows weigh 1/2, tokens share it: -(1.5 + 0.5) / 4 + 2 / 2
    assert value.item() == pytest.approx(-0.5 + 1.0)
    value.backward()
    if ratio is per_token:
        assert now.grad.tolist() == pytest.approx([-1.5 / 4, -0.5 / 4, 2 / 2])
    else:  # each token of a row has half of the row's gradient, (1.5 + 0.5) / 4
        assert now.grad.tolist() == pytest.approx([-0.25, -0.25, 1.0])


def test_a_loss_gets_one_correction_and_keeps_its_own():
    own = replace(RL, correction=Truncated(5.0))
    assert corrected(RL, Bounds(most=3.0)).correction == Truncated(3.0)
    assert corrected(own, Bounds(most=3.0)) is own
    assert corrected(RL, None) is RL
    assert corrected(Likelihood(token_mean), Bounds()) == Likelihood(token_mean), "imitation has nothing to correct"


def test_a_loss_that_cannot_be_corrected_is_refused():
    with pytest.raises(BadInput, match="Pairwise"):
        needs_correction(Pairwise(beta=0.0))


def test_the_bound_holds_and_says_all_numbers():
    summed([1.0, 1.1], Bounds(max_kl=0.01)).check(POLICY)
    with pytest.raises(GateFailed, match=r"kl_k3 0\.0") as refused:
        summed([1.0, 1.3], Bounds(max_kl=0.01)).check(POLICY)  # (0.3 - 0.262) / 2 = 0.019
    assert "max_ratio 1.3" in refused.value.got and "max_kl" in refused.value.cure


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused(odd):
    found = Mismatch(WIDE)
    found.add(torch.tensor([-1.0, odd]), torch.tensor([-1.0, -2.0]))
    with pytest.raises(GateFailed):
        found.check(POLICY)


class POLICY:
    name, version = "agent", 3


# ---------------------------------------------------------------- in an update


@pytest.fixture
def sampled(make_policy, sample_rows, batch_of):
    """A policy in float32 and a batch that its copy in bfloat16 sampled."""
    policy = SampledElsewhere(make_policy(depth=2), Twin("bfloat16", Bounds(max_kl=0.05)))
    return policy, batch_of(sample_rows(policy.sampler.policy))


def train(policy, batch, loss=RL, **more):
    optimizer = AdamW(lr=1e-3).begin(policy.named_parameters())
    return update(policy, optimizer, batch, loss, micro_tokens=64, max_logprob_gap=1e-9, **more)


def moved(policy, batch, loss=RL):
    before = [p.detach().clone() for p in policy.parameters()]
    optimizer = AdamW(lr=1.0, eps=1.0, max_grad_norm=1e9).begin(policy.named_parameters())
    update(policy, optimizer, batch, loss, micro_tokens=4096, max_logprob_gap=1e9)
    return torch.cat([(p.detach() - b).flatten() for p, b in zip(policy.parameters(), before, strict=True)])


def test_an_update_measures_the_distance_and_trains(sampled):
    policy, batch = sampled
    told = train(policy, batch)
    assert 0 < told["mismatch/kl_k3"] < 0.01 and 1 < told["mismatch/max_ratio"] < 2
    assert told["mismatch/mean_gap"] <= told["max_logprob_gap"]
    assert told["mismatch/kl_k1"] == told["kl_sampler_trainer"] and policy.version == 1


def test_parts_of_a_batch_are_all_measured_before_the_first_step(make_policy, sample_rows, batch_of):
    rows = sample_rows(make_policy())
    rows = tuple(replace(r, group=("t", i)) for i, r in enumerate(rows))
    told = [
        train(SampledElsewhere(make_policy(), Twin("float32")), batch_of(rows), num_parts=num_parts)
        for num_parts in (1, 3)
    ]
    for line in told:
        assert line["mismatch/mean_gap"] < 1e-5, "later parts would be off by the steps of the earlier ones"


def test_the_weight_reaches_the_gradient(make_policy, sample_rows, batch_of):
    """Rows are given numbers of the sampler that are off by log 1.5: each token then weighs 1.5, or `most` below it."""
    rows = sample_rows(make_policy())
    off = [replace(r, sampler_logprobs=r.sampler_logprobs - np.log(1.5) * r.known) for r in rows]
    steps = {}
    for most in (1.25, 4.0):
        bounds = Bounds(most=most, max_kl=1.0)
        steps[most] = moved(SampledElsewhere(make_policy(), Twin("float32", bounds)), batch_of(off))
    plain = moved(make_policy(), batch_of(rows))
    for most, weight in ((1.25, 1.25), (4.0, 1.5)):
        ratio = (steps[most] @ plain) / (plain @ plain)
        # AdamW with a large eps steps by g / (|g| + 1), nearly in proportion to small gradients
        assert ratio.item() == pytest.approx(weight, rel=0.05), most


def test_a_batch_from_another_distribution_trains_nothing(make_policy, sample_rows, batch_of):
    policy = SampledElsewhere(make_policy(), Twin("float32"))
    before = [p.detach().clone() for p in policy.parameters()]
    stranger = sample_rows(make_policy(seed=7))
    for num_parts in (1, 2):
        with pytest.raises(GateFailed, match="too far from the weights that are trained"):
            train(policy, batch_of(stranger), num_parts=num_parts)
    assert policy.version == 0
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_words_that_nobody_sampled_have_no_distance(make_policy, sample_rows, batch_of):
    rows = [
        replace(r, known=r.known & False, sampler_logprobs=r.sampler_logprobs * 0) for r in sample_rows(make_policy())
    ]
    told = train(SampledElsewhere(make_policy(), Twin("float32")), batch_of(rows), Likelihood(token_mean))
    assert not any(name.startswith("mismatch") for name in told)
