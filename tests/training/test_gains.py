import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.training.gains import DualClip, Gate, Truncated, Weighted, plain
from evolvent.training.losses import (
    Clip,
    FixedLength,
    PolicyLoss,
    Tokens,
    Totals,
    per_sequence,
    per_sequence_token,
    per_token,
    sequence_mean,
    sequence_sum,
    token_mean,
    whole_sequence,
)

# two rows, of two tokens and of one
ROW = torch.tensor([0, 0, 1])
RATIOS = [per_token, per_sequence, per_sequence_token, whole_sequence]
GAINS = [Clip(0.2, 0.28), DualClip(0.2, 0.28, 3.0), Weighted(2.0), Gate(), plain]
REDUCES = [token_mean, sequence_mean, sequence_sum, FixedLength(7)]


def tokens_of(ratios, credits, rows, **more):
    old = torch.full((len(ratios),), -2.0)
    logprob = (old + torch.tensor(ratios).log()).requires_grad_()
    return Tokens(logprob, old, torch.tensor(credits), torch.tensor(rows), max(rows) + 1, **more)


def slope(gain, ratio, credit):
    """d gain / d log pi of one token at a ratio."""
    tokens = tokens_of([ratio], [credit], [0])
    ratio_N = per_token(tokens.logprob_N, tokens.old_N, tokens.row_N, 1)
    gain(ratio_N, tokens.credit_N, tokens.logprob_N).sum().backward()
    return tokens.logprob_N.grad.item()


def test_ratios_worked_by_hand():
    # token ratios 4 and 1 in the first row, 1/2 in the second
    old = torch.zeros(3)
    new = torch.tensor([4.0, 1.0, 0.5]).log()
    assert per_token(new, old, ROW, 2).tolist() == pytest.approx([4, 1, 0.5])
    assert per_sequence(new, old, ROW, 2).tolist() == pytest.approx([2, 2, 0.5])  # sqrt(4 x 1)
    assert per_sequence_token(new, old, ROW, 2).tolist() == pytest.approx([2, 2, 0.5])
    assert whole_sequence(new, old, ROW, 2).tolist() == pytest.approx([4, 4, 0.5])  # 4 x 1


def test_gspo_worked_by_hand():
    gspo = PolicyLoss(per_sequence, Clip(0.2, 0.28), sequence_mean)
    # ratios of the rows 2 and 1/2; gains min(2, 1.28) = 1.28 and min(-0.5, -0.8) = -0.8; -(1.28 - 0.8) / 2
    assert gspo(tokens_of([4.0, 1.0, 0.5], [1.0, 1.0, -1.0], [0, 0, 1]), Totals(3, 2)).item() == pytest.approx(-0.24)


def test_the_gradient_of_a_sequence_ratio_is_shared_by_the_tokens_of_the_row():
    # GSPO, equation 10: s A / |y| at each token; with 1 / G in front: -1.1 x 2 / 2 / 2 = -0.55 and -1.2 x -3 / 2
    ratio, credits = [1.21, 1.0, 1.2], [2.0, 2.0, -3.0]
    for kind in (per_sequence, per_sequence_token):
        tokens = tokens_of(ratio, credits, [0, 0, 1])
        PolicyLoss(kind, Clip(0.2, 0.28), sequence_mean)(tokens, Totals(3, 2)).backward()
        assert tokens.logprob_N.grad.tolist() == pytest.approx([-0.55, -0.55, 1.8], rel=1e-5)


def test_only_the_token_form_keeps_credits_of_a_row_apart():
    credits = [2.0, -1.0]
    tokens = tokens_of([1.0, 1.0], credits, [0, 0])
    PolicyLoss(per_sequence_token, plain, sequence_mean)(tokens, Totals(2, 1)).backward()
    assert tokens.logprob_N.grad.tolist() == pytest.approx([-1.0, 0.5])
    tokens = tokens_of([1.0, 1.0], credits, [0, 0])
    PolicyLoss(per_sequence, plain, sequence_mean)(tokens, Totals(2, 1)).backward()
    assert tokens.logprob_N.grad.tolist() == pytest.approx([-0.25, -0.25])  # each has the mean of both


@pytest.mark.parametrize(
    ("gain", "ratio", "credit", "wanted"),
    [
        (DualClip(0.2, 0.28, 3.0), 2.5, -1.0, -2.5),  # as the clip
        (DualClip(0.2, 0.28, 3.0), 5.0, -1.0, 0.0),  # bad, and likelier than it should count: held at 3 A
        (DualClip(0.2, 0.28, 3.0), 0.7, -1.0, 0.0),
        (DualClip(0.2, 0.28, 3.0), 5.0, 1.0, 0.0),
        (DualClip(0.2, 0.28, 3.0), 0.01, 1.0, 0.01),
        (Weighted(2.0), 5.0, -1.0, -2.0),  # held at 2, and still learning
        (Weighted(2.0), 5.0, 1.0, 2.0),
        (Weighted(2.0), 0.5, 1.0, 0.5),
        (Weighted(2.0, least=0.8), 0.5, 1.0, 0.8),
        (plain, 5.0, -2.0, -10.0),
        (Gate(), 1.0, 2.0, 2.0),  # d/dr [4/t sigmoid(t (r - 1))] = 4 s (1 - s) = 1 at r = 1
        # r = 3, t = 1: s = sigmoid(2) = 0.8808, 4 s (1 - s) = 0.41997, times r = 1.2599
        (Gate(), 3.0, 1.0, 1.259923),
        # r = 3, t = 1.05: s = sigmoid(2.1) = 0.89090, 4 s (1 - s) = 0.38878, times r = 1.16635
        (Gate(), 3.0, -1.0, -1.166349),
    ],
)
def test_how_hard_a_gain_pulls(gain, ratio, credit, wanted):
    assert slope(gain, ratio, credit) == pytest.approx(wanted, rel=1e-4)


def test_gains_worked_by_hand():
    ratio, credit, logprob = (
        torch.tensor([5.0, 5.0, 0.5]),
        torch.tensor([1.0, -1.0, -1.0]),
        torch.tensor([-1.0, -2, -3]),
    )
    assert DualClip(0.2, 0.28, 3.0)(ratio, credit).tolist() == pytest.approx([1.28, -3, -0.8])
    assert Weighted(2.0)(ratio, credit, logprob).tolist() == pytest.approx([-2, 4, 1.5])
    # 4 sigmoid(4) = 3.92806; -4 / 1.05 sigmoid(4.2) = -3.75324; -4 / 1.05 sigmoid(-0.525) = -1.41594
    assert Gate()(ratio, credit).tolist() == pytest.approx([3.928055, -3.753242, -1.415938], abs=1e-5)
    assert plain(ratio, credit, logprob).tolist() == [5, -5, -0.5]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("gain", GAINS)
def test_on_policy_every_gain_has_the_gradient_of_reinforce(gain, ratio):
    tokens = tokens_of([1.0] * 4, [2.0, 2.0, -0.5, 0.0], [0, 0, 1, 2])
    PolicyLoss(ratio, gain, token_mean)(tokens, Totals(4, 3)).backward()
    wanted = [-0.5, -0.5, 0.125, 0.0]
    if ratio is whole_sequence:  # the product counts once for each token of its row
        wanted[:2] = [-1.0, -1.0]
    if isinstance(gain, Weighted):
        wanted[:2] = [-0.5, -0.5]  # A log pi of the token alone, whatever the weight was read from
    assert tokens.logprob_N.grad.tolist() == pytest.approx(wanted, abs=1e-6)


def test_what_a_row_weighs_worked_by_hand():
    # lengths 1 and 3, losses 1 and 0: token mean 1/4, sequence mean 1/2 (Seed1.5-Thinking); of at most 4 tokens: 1 / 8
    row, loss = torch.tensor([0, 1, 1, 1]), torch.tensor([1.0, 0, 0, 0])
    wanted = {token_mean: 1 / 4, sequence_mean: 1 / 2, sequence_sum: 1 / 2, FixedLength(4): 1 / 8}
    for reduce, value in wanted.items():
        assert (reduce(row, 2, Totals(4, 2)) * loss).sum().item() == pytest.approx(value)


def test_only_the_sequence_mean_lets_a_long_row_hide():
    # the same losses with the long row wrong: 3/4, 1/2, 3/2, 3/8
    row, loss = torch.tensor([0, 1, 1, 1]), torch.tensor([0.0, 1, 1, 1])
    wanted = {token_mean: 3 / 4, sequence_mean: 1 / 2, sequence_sum: 3 / 2, FixedLength(4): 3 / 8}
    for reduce, value in wanted.items():
        assert (reduce(row, 2, Totals(4, 2)) * loss).sum().item() == pytest.approx(value)


def test_the_correction_worked_by_hand():
    # the trainer finds the first token twice, the second half, the third eight times as likely as the sampler did
    tokens = tokens_of([1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [0, 0, 1])
    sampler = tokens.old_N - torch.tensor([2.0, 0.5, 8.0]).log()
    tokens = tokens_of([1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [0, 0, 1], sampler_N=sampler)
    assert Truncated(5.0)(tokens).tolist() == pytest.approx([2, 0.5, 5])
    loss = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, correction=Truncated(5.0))
    assert loss.needs == ("sampler_N",)
    value = loss(tokens, Totals(3, 2))  # -(2 + 0.5 - 5) / 3
    assert value.item() == pytest.approx(2.5 / 3)
    value.backward()
    assert tokens.logprob_N.grad.tolist() == pytest.approx([-2 / 3, -0.5 / 3, 5 / 3], rel=1e-5)


def test_a_sampler_that_agrees_with_the_trainer_needs_no_correction():
    tokens = tokens_of([1.3, 0.9], [1.0, -1.0], [0, 1])
    same = tokens_of([1.3, 0.9], [1.0, -1.0], [0, 1], sampler_N=tokens.old_N.clone())
    plainly = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean)
    corrected = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, correction=Truncated(2.0))
    assert corrected(same, Totals(2, 2)).item() == plainly(tokens, Totals(2, 2)).item()
    with pytest.raises(BadInput, match="sampler_N"):
        corrected(tokens, Totals(2, 2))


@pytest.mark.parametrize(
    ("gain", "wanted"),
    # ratios 1.5 1.0 5.0 0.5 4.0 with credits + + - - -
    [(Clip(0.2, 0.28), 2 / 5), (DualClip(0.2, 0.28, 3.0), 4 / 5), (Weighted(2.0), 2 / 5), (Gate(), 0), (plain, 0)],
)
def test_the_share_that_a_bound_holds(gain, wanted):
    ratio, credit = torch.tensor([1.5, 1.0, 5.0, 0.5, 4.0]), torch.tensor([1.0, 1.0, -1.0, -1.0, -1.0])
    loss = PolicyLoss(per_token, gain, token_mean)
    assert loss.clip_share(ratio, credit) == pytest.approx(wanted)
    tokens = tokens_of(ratio.tolist(), credit.tolist(), [0] * 5)
    assert loss.num_cut(tokens) == pytest.approx(wanted * 5)


def test_the_share_is_counted_by_the_ratio_that_the_loss_uses():
    tokens = tokens_of([4.0, 0.25], [1.0, 1.0], [0, 0])  # the geometric mean is 1
    assert PolicyLoss(per_token, Clip(0.2, 0.28), token_mean).num_cut(tokens) == 1
    assert PolicyLoss(per_sequence, Clip(0.2, 0.28), token_mean).num_cut(tokens) == 0


def ragged(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    row = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    logprob = -torch.rand(len(row), generator=generator) * 3
    old = logprob + torch.randn(len(row), generator=generator) * 0.4
    sampler = old + torch.randn(len(row), generator=generator) * 0.4
    return row, logprob, old, torch.randn(len(lengths), generator=generator)[row], sampler


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("gain", GAINS)
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=2, max_size=6), seed=st.integers(0, 99), data=st.data())
def test_micro_batches_add_up_whatever_the_parts(ratio, gain, lengths, seed, data):
    row, logprob, old, credit, sampler = ragged(lengths, seed)
    reduce = data.draw(st.sampled_from(REDUCES))
    cut = data.draw(st.integers(1, len(lengths) - 1))
    loss = PolicyLoss(ratio, gain, reduce, correction=Truncated(2.0))
    totals = Totals(len(row), len(lengths))
    whole, parts = (logprob.clone().requires_grad_() for _ in range(2))
    value = loss(Tokens(whole, old, credit, row, len(lengths), sampler_N=sampler), totals)
    value.backward()
    total = 0.0
    for start, stop in ((0, cut), (cut, len(lengths))):
        here = (row >= start) & (row < stop)
        part = loss(
            Tokens(parts[here], old[here], credit[here], row[here] - start, stop - start, sampler_N=sampler[here]),
            totals,
        )
        part.backward()
        total += part.item()
    assert total == pytest.approx(value.item(), rel=1e-4, abs=1e-5)
    assert torch.allclose(whole.grad, parts.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gain", GAINS)
def test_a_token_that_became_impossible_leaves_no_nan(gain):
    tokens = Tokens(
        torch.tensor([-200.0, -1.0], requires_grad=True),
        torch.tensor([-1.0, -1.0]),
        torch.tensor([1.0, -1.0]),
        torch.tensor([0, 1]),
        2,
    )
    PolicyLoss(per_token, gain, token_mean)(tokens, Totals(2, 2)).backward()
    assert torch.isfinite(tokens.logprob_N.grad).all()


def test_a_second_bound_within_the_first_is_refused():
    with pytest.raises(BadInput, match="inside the clip"):
        DualClip(0.2, 0.28, 1.2)


@pytest.mark.parametrize(
    "loss",
    [
        PolicyLoss(per_sequence, DualClip(3e-4, 4e-4, 10.0), FixedLength(48)),
        PolicyLoss(per_sequence_token, Weighted(5.0), sequence_sum, correction=Truncated(2.0)),
        PolicyLoss(whole_sequence, Gate(), token_mean),
        PolicyLoss(per_token, plain, token_mean),
    ],
)
def test_a_composition_survives_json(loss):
    assert from_json(to_json(loss)) == loss
