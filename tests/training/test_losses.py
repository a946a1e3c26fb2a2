import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.training.losses import (
    Clip,
    Likelihood,
    PolicyLoss,
    Tokens,
    Totals,
    divergence,
    per_token,
    sequence_mean,
    token_mean,
)

DAPO = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean)
GRPO = PolicyLoss(per_token, Clip(0.2, 0.28), sequence_mean)


def tokens_of(ratios, credits, rows, reference=None):
    """Tokens whose ratio to the old policy is `ratios`; the new log-probabilities ask for a gradient."""
    old = torch.full((len(ratios),), -2.0)
    logprob = (old + torch.tensor(ratios).log()).requires_grad_()
    given = None if reference is None else logprob.detach() + torch.tensor(reference)
    return Tokens(logprob, old, torch.tensor(credits), torch.tensor(rows), max(rows) + 1, given)


# two rows, of two tokens and of one
HAND = ([1.5, 0.9, 0.5], [1.0, 1.0, -1.0], [0, 0, 1])


def test_losses_worked_by_hand():
    tokens = tokens_of(*HAND)
    # gains: min(1.5, 1.28) = 1.28; min(0.9, 0.9) = 0.9; min(-0.5, -0.8) = -0.8
    # token mean: -(1.28 + 0.9 - 0.8) / 3 = -0.46
    assert DAPO(tokens, Totals(3, 2)).item() == pytest.approx(-0.46)
    # sequence mean: -((1.28 + 0.9) / 2 - 0.8) / 2 = -0.145
    assert GRPO(tokens, Totals(3, 2)).item() == pytest.approx(-0.145)


def test_the_kl_term_worked_by_hand():
    # the reference gives the first token twice the probability, the second half, the third the same:
    # k3 = exp(d) - d - 1: 2 - ln 2 - 1 = 0.3069; 0.5 + ln 2 - 1 = 0.1931; 0
    tokens = tokens_of(*HAND, reference=[math.log(2), -math.log(2), 0.0])
    assert divergence(tokens).tolist() == pytest.approx([0.306853, 0.193147, 0], abs=1e-6)
    loss = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, kl=0.1)
    assert loss(tokens, Totals(3, 2)).item() == pytest.approx(-0.46 + 0.1 * 0.5 / 3)
    # by row: (0.3069 + 0.1931) / 2 and 0, so 0.1 x 0.25 / 2
    loss = PolicyLoss(per_token, Clip(0.2, 0.28), sequence_mean, kl=0.1)
    assert loss(tokens, Totals(3, 2)).item() == pytest.approx(-0.145 + 0.0125)
    assert Likelihood(token_mean, kl=0.1)(tokens, Totals(3, 2)).item() == pytest.approx(
        Likelihood(token_mean)(tokens, Totals(3, 2)).item() + 0.1 * 0.5 / 3
    )


def test_the_likelihood_worked_by_hand():
    # log-probabilities -1, -2, -3 with credit 1, 1, 0.5: (1 + 2 + 1.5) / 3
    tokens = Tokens(torch.tensor([-1.0, -2, -3]), torch.zeros(3), torch.tensor([1, 1, 0.5]), torch.tensor([0, 0, 1]), 2)
    assert Likelihood(token_mean)(tokens, Totals(3, 2)).item() == pytest.approx(1.5)
    # by row: ((1 + 2) / 2 + 1.5) / 2
    assert Likelihood(sequence_mean)(tokens, Totals(3, 2)).item() == pytest.approx(1.5)
    assert Likelihood(token_mean).clip_share(torch.ones(3), torch.ones(3)) == 0


@pytest.mark.parametrize(
    "loss", [PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, kl=0.1), Likelihood(token_mean, 0.1)]
)
def test_a_kl_term_without_a_reference_is_an_error_and_not_a_silence(loss):
    with pytest.raises(BadInput, match="needs a reference"):
        loss(tokens_of(*HAND), Totals(3, 2))


@pytest.mark.parametrize(
    ("ratio", "credit", "is_cut"),
    [
        (1.3, 2.0, True),  # gained enough: no further up
        (1.27, 2.0, False),  # within 1 + 0.28
        (0.7, 2.0, False),  # good and grown rarer: pull it back
        (0.7, -2.0, True),  # bad and rare enough: no further down
        (0.81, -2.0, False),  # within 1 - 0.2
        (1.3, -2.0, False),  # bad and grown likelier: push it back, without a bound
        (50.0, -2.0, False),
    ],
)
def test_the_clip_cuts_only_the_side_that_went_far_enough(ratio, credit, is_cut):
    tokens = tokens_of([ratio], [credit], [0])
    DAPO(tokens, Totals(1, 1)).backward()
    # d(-ratio x credit) / d log pi = -ratio x credit
    assert tokens.logprob_N.grad.item() == pytest.approx(0.0 if is_cut else -ratio * credit, rel=1e-5)
    assert DAPO.clip_share(torch.tensor([ratio]), torch.tensor([credit])) == float(is_cut)


def test_the_share_that_was_clipped_is_of_all_tokens():
    assert DAPO.clip_share(torch.tensor([1.5, 1.0, 1.5, 0.5]), torch.tensor([1.0, 1.0, -1.0, 1.0])) == 0.25
    assert DAPO.clip_share(torch.ones(0), torch.ones(0)) == 0.0


def test_on_policy_the_gradient_is_that_of_reinforce():
    tokens = tokens_of([1.0] * 4, [2.0, -1.0, 0.5, 0.0], [0, 0, 1, 1])
    DAPO(tokens, Totals(4, 2)).backward()
    assert tokens.logprob_N.grad.tolist() == pytest.approx([-0.5, 0.25, -0.125, 0])


logs = st.floats(-6, 6).map(lambda x: round(x, 3))


@settings(deadline=None)
@given(st.lists(logs, min_size=1, max_size=20))
def test_the_kl_estimate_is_never_negative_and_zero_where_nothing_differs(gaps):
    def k3(gaps):
        nothing = torch.zeros(len(gaps))
        return divergence(
            Tokens(nothing, nothing, nothing, torch.zeros(len(gaps), dtype=torch.long), 1, torch.tensor(gaps))
        )

    assert (k3(gaps) >= 0).all()
    assert (k3([g * 1e-4 for g in gaps]) >= -1e-11).all()  # exp(d) - d - 1 as written falls to -1e-7 here
    assert not k3([0.0] * len(gaps)).any()


def ragged(draw_lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    row = torch.cat([torch.full((n,), i) for i, n in enumerate(draw_lengths)])
    num = len(row)
    logprob = -torch.rand(num, generator=generator) * 3
    old = logprob + torch.randn(num, generator=generator) * 0.4
    reference = logprob + torch.randn(num, generator=generator) * 0.4
    return row, logprob, old, torch.randn(num, generator=generator), reference


@pytest.mark.parametrize("reduce", [token_mean, sequence_mean])
@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=8), seed=st.integers(0, 99), data=st.data())
def test_micro_batches_add_up_to_the_loss_and_the_gradient_of_the_whole(reduce, lengths, seed, data):
    row, logprob, old, credit, reference = ragged(lengths, seed)
    totals = Totals(len(row), len(lengths))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(lengths) - 1)))))
    bounds = [0, *[c for c in cuts if c < len(lengths)], len(lengths)]
    for loss in (PolicyLoss(per_token, Clip(0.2, 0.28), reduce, kl=0.05), Likelihood(reduce)):
        whole, parts = (logprob.clone().requires_grad_() for _ in range(2))
        value = loss(Tokens(whole, old, credit, row, len(lengths), reference), totals)
        value.backward()
        total = 0.0
        for start, stop in itertools.pairwise(bounds):
            here = (row >= start) & (row < stop)
            tokens = Tokens(parts[here], old[here], credit[here], row[here] - start, stop - start, reference[here])
            part = loss(tokens, totals)
            part.backward()
            total += part.item()
        assert total == pytest.approx(value.item(), abs=1e-6)
        assert torch.allclose(whole.grad, parts.grad, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_weights_of_a_batch_sum_to_one(lengths, seed):
    row = ragged(lengths, seed)[0]
    for reduce in (token_mean, sequence_mean):
        weights = reduce(row, len(lengths), Totals(len(row), len(lengths)))
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    by_row = torch.zeros(len(lengths)).index_add(0, row, sequence_mean(row, len(lengths), Totals(0, len(lengths))))
    assert torch.allclose(by_row, torch.full((len(lengths),), 1 / len(lengths)))


@pytest.mark.parametrize("engine", ["generic", "fast"])
def test_what_the_policy_did_not_write_has_no_gradient(make_policy, engine):
    policy = make_policy(engine="generic")
    kept = []

    def keep(_module, _arguments, logits):
        logits.retain_grad()
        kept.append(logits)

    policy.model.lm_head.register_forward_hook(keep)
    token = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[0, 0, 0, 1, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    logprob, _ = policy.logprobs(policy.lay_out(token.numpy(), mask.numpy()))
    credit = torch.tensor([1.0, -1.0, 2.0, 0.5])
    DAPO(Tokens(logprob, logprob.detach(), credit, torch.tensor([0, 0, 0, 1]), 2), Totals(4, 2)).backward()
    (logits,) = kept  # position t predicts token t + 1; what stands behind the last target is not read
    grad, wanted = logits.grad.abs().sum(-1), mask[:, 1:8]
    assert (grad[~wanted] == 0).all() and (grad[wanted] > 0).all()
    # the fast path never computes the others, and reaches the same gradient
    twin = make_policy(engine=engine)
    logprob, _ = twin.logprobs(twin.lay_out(token.numpy(), mask.numpy()))
    DAPO(Tokens(logprob, logprob.detach(), credit, torch.tensor([0, 0, 0, 1]), 2), Totals(4, 2)).backward()
    for mine, theirs in zip(policy.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-5)


@pytest.mark.parametrize(
    "loss", [DAPO, PolicyLoss(per_token, Clip(3e-4, 4e-4), sequence_mean, 0.1), Likelihood(token_mean)]
)
def test_a_loss_survives_json(loss):
    assert from_json(to_json(loss)) == loss
