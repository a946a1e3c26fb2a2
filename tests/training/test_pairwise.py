import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from evolvent.codec import from_json, to_json
from evolvent.credit.across import BatchWhitened
from evolvent.credit.advantage import Centred
from evolvent.errors import BadInput
from evolvent.training.losses import Clip, PolicyLoss, Tokens, Totals, per_token, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.pairwise import Pairwise
from evolvent.training.update import update

PAIR = torch.tensor([[0, 1]])


def pair_of(drift_1, drift_2, rewards=(1.0, 0.0), pair=PAIR, lengths=(2, 3)):
    """Two rows that have drifted in sum from old policy and reference alike, credited by their centred scores."""
    row = torch.tensor([0] * lengths[0] + [1] * lengths[1])
    old = torch.full((len(row),), -2.0)
    drift = torch.tensor([drift_1 / lengths[0], drift_2 / lengths[1]])[row]
    logprob = (old + drift).requires_grad_()
    credit = torch.tensor(Centred()(rewards))[row]
    return Tokens(logprob, old, credit, row, 2, old, pair_P2=pair)


def test_known_values():
    # an unchanged policy: q = 1 and both ratios 1: (-1 + 1) / 2
    given = pair_of(0.0, 0.0)
    assert Pairwise().pull(given).tolist() == pytest.approx([1])
    assert Pairwise()(given, Totals(5, 2, 1)).item() == pytest.approx(0, abs=1e-6)
    # l_1 = 0.5: q = 1 - 0.05 x 0.5 = 0.975; rho_1 = 1.6487, clipped 1.2; c(rho_1) = 1.6487
    # (max(-0.975 x 1.6487, -0.975 x 1.2) + 0.975 x 1.6487) / 2 = (-1.17 + 1.6075) / 2 = 0.21875
    given = pair_of(0.5, 0.0)
    assert Pairwise().pull(given).tolist() == pytest.approx([0.975])
    assert Pairwise()(given, Totals(5, 2, 1)).item() == pytest.approx(0.21875, abs=2e-5)


def test_on_policy_the_gradient_is_half_the_difference_of_log_probabilities():
    given = pair_of(0.0, 0.0, rewards=(0.75, -1.25))
    Pairwise()(given, Totals(5, 2, 1)).backward()
    # -q / 2 = -1 at each token of the first, +1 at each of the second, however long they are
    assert given.logprob_N.grad.tolist() == pytest.approx([-1, -1, 1, 1, 1])


@pytest.mark.parametrize(("drift_1", "drift_2"), [(0.0, 0.0), (0.5, -0.3), (-3.0, 3.0)])
def test_which_of_the_two_comes_first_changes_nothing(drift_1, drift_2):
    one, other = (pair_of(drift_1, drift_2, pair=pair) for pair in (PAIR, PAIR.flip(-1)))
    values = [Pairwise()(given, Totals(5, 2, 1)) for given in (one, other)]
    assert values[0].item() == pytest.approx(values[1].item(), abs=1e-6)
    for value in values:
        value.backward()
    assert torch.allclose(one.logprob_N.grad, other.logprob_N.grad, atol=1e-7)


def test_equal_attempts_have_no_gradient():
    given = pair_of(0.0, 0.0, rewards=(1.0, 1.0))
    Pairwise()(given, Totals(5, 2, 1)).backward()
    assert not given.logprob_N.grad.any()


def test_the_pull_and_the_crossed_ratio_are_constants():
    # with q held, the gradient of the loss in l_1 is -q c(rho_2) rho_1 / 2 = -0.999 x 1.01 / 2 within the clip
    given = pair_of(0.02, 0.0)
    Pairwise()(given, Totals(5, 2, 1)).backward()
    q, rho = 1 - 0.05 * 0.02, math.exp(0.02)
    assert given.logprob_N.grad[:2].tolist() == pytest.approx([-q * rho / 2] * 2, rel=1e-5)
    assert given.logprob_N.grad[2:].tolist() == pytest.approx([q * rho / 2] * 3, rel=1e-5)


def test_without_a_penalty_no_reference_is_needed():
    assert Pairwise(beta=0.0).needs == ("pair_P2",) and Pairwise().needs == ("pair_P2", "reference_N")
    given = pair_of(0.0, 0.0)
    alone = Tokens(given.logprob_N, given.old_N, given.credit_N, given.row_N, 2, pair_P2=PAIR)
    assert Pairwise(beta=0.0)(alone, Totals(5, 2, 1)).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(BadInput, match="reference"):
        Pairwise()(alone, Totals(5, 2, 1))
    with pytest.raises(BadInput, match="pair_P2"):
        Pairwise()(Tokens(given.logprob_N, given.old_N, given.credit_N, given.row_N, 2, given.old_N), Totals(5, 2, 1))


# ---------------------------------------------------------------- what the method is for


def centred(scores, keys):
    return [Centred()(pair) for pair in scores]


def contexts(seed=0):
    """A tabular policy over 8 actions in 16 contexts, true rewards, and two draws for each context."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, 8, generator=generator)
    rewards = torch.rand(16, 8, generator=generator).mul(64).round() / 64
    drawn = torch.multinomial(logits.softmax(-1), 2, replacement=True, generator=generator)
    return logits, rewards, drawn


def gradient(loss, credits, logits, drawn):
    """One update's gradient of the table, from credits of two attempts at each context."""
    weights = logits.clone().requires_grad_()
    logprob = weights.log_softmax(-1).gather(-1, drawn).reshape(-1)
    old = logprob.detach()
    pairs = torch.arange(32).reshape(16, 2)
    tokens = Tokens(logprob, old, torch.tensor(credits).reshape(-1), torch.arange(32), 32, old - 0.1, pair_P2=pairs)
    loss(tokens, Totals(32, 32, 16)).backward()
    return weights.grad


@pytest.mark.parametrize("spread", [1, 5, 20, 1000])
def test_whatever_a_prompt_adds_to_all_its_rewards_the_update_is_the_same(spread):
    logits, rewards, drawn = contexts()
    offsets = torch.randn(16, 1, generator=torch.Generator().manual_seed(1)).mul(spread * 64).round() / 64
    scores = rewards.gather(-1, drawn).double()
    plain, moved = ([Centred()(pair) for pair in made.tolist()] for made in (scores, scores + offsets))
    assert torch.equal(gradient(Pairwise(), plain, logits, drawn), gradient(Pairwise(), moved, logits, drawn))


def test_a_policy_gradient_with_the_batch_as_baseline_is_moved_by_what_a_prompt_adds():
    logits, rewards, drawn = contexts()
    offsets = torch.randn(16, 1, generator=torch.Generator().manual_seed(1)) * 5
    scores = rewards.gather(-1, drawn).double()
    whiten, keys = BatchWhitened(ddof=0, eps=1e-8), [(str(i), "agent") for i in range(16)]
    loss = PolicyLoss(per_token, Clip(0.2, 0.2), token_mean)
    plain, moved = (
        gradient(loss, whiten.across(made.tolist(), keys), logits, drawn) for made in (scores, scores + offsets)
    )
    cosine = torch.nn.functional.cosine_similarity(plain.flatten(), moved.flatten(), dim=0)
    assert cosine < 0.5, "the offsets drown the rewards"


def after_an_update(make_policy, batch_of, sample_rows, offsets, credit, loss):
    """The weights of a policy that was updated on pairs of its own attempts, each pair with an offset of its scores."""
    policy = make_policy()
    reference = make_policy(seed=5).copy()
    rows = sample_rows(policy)
    scores = [[s + offset for s in pair] for pair, offset in zip([[1, 0], [0.25, 0.5], [0, 1]], offsets, strict=True)]
    credits = [c for pair in credit(scores, [(str(i), "agent") for i in range(3)]) for c in pair]
    rows = [
        replace(row, group=(str(i // 2), "agent"), credit=np.where(row.mask, c, 0).astype(np.float32))
        for i, (row, c) in enumerate(zip(rows, credits, strict=True))
    ]
    numbers = update(
        policy,
        AdamW(lr=1e-3).begin(policy.named_parameters()),
        batch_of(rows),
        loss,
        micro_tokens=100,
        max_logprob_gap=1e-3,
        reference=reference,
    )
    return numbers, torch.cat([p.detach().flatten() for p in policy.parameters()])


def test_an_update_of_a_policy_is_the_same_to_the_last_bit_under_any_offset(make_policy, batch_of, sample_rows):
    given = (make_policy, batch_of, sample_rows)
    plain = after_an_update(*given, [0, 0, 0], centred, Pairwise())
    moved = after_an_update(*given, [1024, -3.5, 77], centred, Pairwise())
    assert plain[0] == moved[0] and plain[0]["grad_norm"] > 0
    assert torch.equal(plain[1], moved[1])
    whiten, batch = BatchWhitened(ddof=0, eps=1e-8).across, PolicyLoss(per_token, Clip(0.2, 0.2), token_mean)
    plain, moved = (after_an_update(*given, offsets, whiten, batch) for offsets in ([0, 0, 0], [1024, -3.5, 77]))
    assert not torch.allclose(plain[1], moved[1], atol=1e-4)


def test_how_pairs_are_spread_over_micro_batches_changes_nothing(make_policy, batch_of, sample_rows):
    policy = make_policy()
    rows = [replace(row, group=(str(i // 2), "agent")) for i, row in enumerate(sample_rows(policy))]
    told = []
    for micro_tokens in (60, 4096):
        policy = make_policy()
        optimizer = AdamW(lr=1e-3).begin(policy.named_parameters())
        numbers = update(
            policy, optimizer, batch_of(rows), Pairwise(beta=0.0), micro_tokens=micro_tokens, max_logprob_gap=1e-3
        )
        told.append((numbers["loss"], numbers["grad_norm"]))
    assert told[0] == pytest.approx(told[1], rel=1e-4, abs=1e-6)


def climb(advantage, loss, spread, steps=150):
    """The share of the best reward that a table reaches when every context adds its own offset to all rewards."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.zeros(16, 8, requires_grad=True)
    rewards, offsets = torch.rand(16, 8, generator=generator), torch.randn(16, 1, generator=generator) * spread
    optimizer = torch.optim.Adam([logits], lr=0.1)
    pairs, rows = torch.arange(32).reshape(16, 2), torch.arange(32)
    keys = [(str(i), "agent") for i in range(16)]
    for _ in range(steps):
        drawn = torch.multinomial(logits.detach().softmax(-1), 2, replacement=True, generator=generator)
        credits = torch.tensor(advantage((rewards + offsets).gather(-1, drawn).tolist(), keys)).reshape(-1)
        logprob = logits.log_softmax(-1).gather(-1, drawn).reshape(-1)
        old = logprob.detach()
        reference = torch.full((32,), -math.log(8))  # the table began with equal chances
        optimizer.zero_grad()
        loss(Tokens(logprob, old, credits, rows, 32, reference, pair_P2=pairs), Totals(32, 32, 16)).backward()
        optimizer.step()
    reached = (logits.detach().softmax(-1) * rewards).sum(-1)
    return (reached.mean() / rewards.max(-1).values.mean()).item()


def test_pairs_climb_under_offsets_that_a_batch_baseline_drowns_in():
    whiten = BatchWhitened(ddof=0, eps=1e-8).across
    batch = PolicyLoss(per_token, Clip(0.2, 0.2), token_mean)
    assert climb(centred, Pairwise(), 20.0) == pytest.approx(climb(centred, Pairwise(), 0.0), abs=0.02)
    assert climb(centred, Pairwise(), 20.0) > climb(whiten, batch, 20.0) + 0.1
    assert climb(whiten, batch, 0.0) > climb(whiten, batch, 20.0) + 0.1


def test_a_pairwise_loss_survives_json():
    assert from_json(to_json(Pairwise(beta=0.1))) == Pairwise(beta=0.1)
