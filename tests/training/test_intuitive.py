from dataclasses import replace

import numpy as np
import pytest
import torch

from evolvent.errors import BadInput
from evolvent.training.intuitive import Intuitive, sum_future, weigh_by_future
from evolvent.training.losses import Likelihood, Tokens, Totals, sequence_mean, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.update import update

SFT = Likelihood(sequence_mean)
OFF = Intuitive(mixed=0.0, gamma=0.0)


def tokens_of(*losses, credit=1.0):
    """Rows of given losses as a loss reads them, with a gradient at the log-probabilities."""
    logprob_N = -torch.tensor([x for row in losses for x in row], dtype=torch.float64)
    row_N = torch.tensor([i for i, row in enumerate(losses) for _ in row])
    logprob_N.requires_grad_(True)
    return Tokens(logprob_N, logprob_N.detach(), torch.full_like(logprob_N, credit), row_N, len(losses))


def value_of(loss, tokens):
    return loss(tokens, Totals(len(tokens.row_N), tokens.num_rows))


def weights_of(losses, gamma):
    return weigh_by_future(torch.tensor(losses), torch.zeros(len(losses), dtype=torch.long), 1, gamma).tolist()


def recited(rows):
    """Rows as demonstrations: nothing is known of a sampler."""
    return [replace(r, known=np.zeros_like(r.known), credit=r.mask.astype(np.float32)) for r in rows]


def step(policy, rows, loss, batch):
    """The loss of an update, and what it moved: with so large an eps about the gradient itself."""
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    optimizer = AdamW(lr=1.0, eps=1.0, max_grad_norm=1e9).begin(policy.named_parameters())
    told = update(policy, optimizer, batch(rows), loss, micro_tokens=512, max_logprob_gap=1e-3)
    return told["loss"], {n: p.detach() - before[n] for n, p in policy.named_parameters()}


def test_weights_of_the_sheet():
    # s = [1 + .5 + .25, 1 + .5, 1] / 3, the sum 4.25 / 3: w = 3 * [1.75, 1.5, 1] / 4.25
    assert weights_of([1.0, 1.0, 1.0], 0.5) == pytest.approx([1.2353, 1.0588, 0.7059], abs=1e-4)
    # s = [.75, 1.5, 3] / 3, the sum 5.25 / 3: w = 3 * [.75, 1.5, 3] / 5.25
    assert weights_of([0.0, 0.0, 3.0], 0.5) == pytest.approx([0.4286, 0.8571, 1.7143], abs=1e-4)


def test_losses_of_the_sheet():
    loss = Intuitive(mixed=0.0, gamma=0.5)
    assert value_of(loss, tokens_of([1.0, 1.0, 1.0])).item() == pytest.approx(1.0)
    # 1.7143 * 3 / 3, where supervised learning has 3 / 3
    assert value_of(loss, tokens_of([0.0, 0.0, 3.0])).item() == pytest.approx(1.7143, abs=1e-4)
    assert value_of(SFT, tokens_of([0.0, 0.0, 3.0])).item() == pytest.approx(1.0)


def test_weights_of_a_row_sum_to_its_tokens_and_rows_do_not_touch():
    rng = np.random.default_rng(0)
    rows = [rng.exponential(size=n) for n in (1, 5, 40, 3)]
    loss_N = torch.tensor(np.concatenate(rows))
    row_N = torch.tensor(np.repeat(np.arange(4), [1, 5, 40, 3]))
    made = weigh_by_future(loss_N, row_N, 4, 0.9)
    sums = [float(made[row_N == i].sum()) for i in range(4)]
    assert sums == pytest.approx([1, 5, 40, 3])
    for i, row in enumerate(rows):
        alone = weigh_by_future(torch.tensor(row), torch.zeros(len(row), dtype=torch.long), 1, 0.9)
        assert torch.allclose(made[row_N == i], alone)


def test_the_scan_equals_the_sum_written_out():
    value = np.random.default_rng(1).normal(size=23)
    row = np.repeat([0, 1, 2], [7, 15, 1])
    same = (row[:, None] == row) & (np.arange(23) >= np.arange(23)[:, None])
    by_hand = [sum(0.8 ** (k - t) * value[k] for k in range(23) if same[t, k]) for t in range(23)]
    assert sum_future(torch.tensor(value), torch.tensor(row), 0.8).numpy() == pytest.approx(np.array(by_hand))


def test_a_row_without_any_loss_has_equal_weights():
    assert weights_of([0.0, 0.0], 0.5) == pytest.approx([1.0, 1.0])
    tokens = tokens_of([0.0, 0.0])
    value_of(Intuitive(), tokens).backward()
    assert torch.isfinite(tokens.logprob_N.grad).all()


def test_a_later_loss_changes_earlier_weights_and_no_earlier_loss_changes_later_ones():
    first, second = weights_of([1.0, 1.0, 1.0], 0.5), weights_of([1.0, 1.0, 9.0], 0.5)
    assert first[1] / first[0] != pytest.approx(second[1] / second[0])
    third = weights_of([9.0, 1.0, 1.0], 0.5)
    assert first[2] / first[1] == pytest.approx(third[2] / third[1])


def test_weights_have_a_gradient_only_where_they_are_attached():
    held, through = tokens_of([0.2, 1.0, 3.0]), tokens_of([0.2, 1.0, 3.0])
    losses = [value_of(Intuitive(0.0, 0.5, is_attached=a), t) for a, t in ((False, held), (True, through))]
    assert losses[0].item() == pytest.approx(losses[1].item())
    for loss in losses:
        loss.backward()
    weights = torch.tensor(weights_of([0.2, 1.0, 3.0], 0.5))
    assert (-held.logprob_N.grad * 3).tolist() == pytest.approx(weights.tolist(), abs=1e-6)
    # by finite differences: L(l) with everything free to move
    for t in range(3):
        moved = [0.2, 1.0, 3.0]
        moved[t] += 1e-4
        rise = (value_of(Intuitive(0.0, 0.5), tokens_of(moved)) - losses[0]).item() / 1e-4
        assert -float(through.logprob_N.grad[t]) == pytest.approx(rise, abs=1e-3)


@pytest.mark.parametrize("engine", ["fast", "generic"])
@pytest.mark.parametrize("reduce", [sequence_mean, token_mean])
def test_with_both_off_it_is_supervised_learning(make_policy, sample_rows, batch_of, engine, reduce):
    rows = recited(sample_rows(make_policy()))
    losses = replace(OFF, reduce=reduce), Likelihood(reduce)
    (off, moved), (plain, wanted) = (step(make_policy(engine=engine), rows, x, batch_of) for x in losses)
    assert off == pytest.approx(plain, abs=1e-6)
    assert all(torch.allclose(moved[n], wanted[n], atol=1e-6) for n in wanted)
    assert max(float(m.abs().max()) for m in moved.values()) > 1e-3


def test_both_engines_read_mixtures_alike(make_policy, sample_rows, batch_of):
    rows = recited(sample_rows(make_policy()))
    (fast, moved), (generic, wanted) = (
        step(make_policy(engine=e), rows, Intuitive(), batch_of) for e in ("fast", "generic")
    )
    assert fast == pytest.approx(generic, abs=1e-4)
    assert all(torch.allclose(moved[n], wanted[n], atol=1e-3) for n in wanted)


def by_hand(policy, row, share):
    """The mixture written out for one row: embeddings (T, W), and the log-probabilities read of them."""
    model, token_T = policy.model, torch.tensor(row.tokens)
    with torch.no_grad():
        guess_T = model(input_ids=token_T[None]).logits[0].argmax(-1)
    table = model.get_input_embeddings().weight
    x_TW = table[token_T].clone()
    for i in np.flatnonzero(row.mask):
        x_TW[i] = (1 - share) * table[token_T[i]] + share * table[guess_T[i - 1]]  # the guess made at i - 1
    logprob_TV = model(inputs_embeds=x_TW[None]).logits[0].log_softmax(-1)
    read = [logprob_TV[i - 1, token_T[i]] for i in np.flatnonzero(row.mask)]
    return x_TW, torch.stack(read)


@pytest.mark.parametrize("engine", ["fast", "generic"])
def test_the_second_reading_is_of_guesses_made_one_place_before(make_policy, sample_rows, engine):
    policy = make_policy(engine=engine)
    for row in sample_rows(policy, 3):
        layout = policy.lay_out(row.tokens[None], row.mask[None])
        wanted_TW, wanted = by_hand(policy, row, 0.3)
        made = policy._mix(layout, 0.3)
        num_prompt = int(np.flatnonzero(row.mask)[0])
        assert torch.equal(made[:num_prompt], policy._embed(layout.token_N)[:num_prompt]), "the prompt is untouched"
        assert torch.allclose(made, wanted_TW[: len(made)], atol=1e-6)
        assert torch.allclose(policy.logprobs(layout, mixed=0.3)[0], wanted, atol=1e-3)


def test_rows_that_share_a_start_are_mixed_as_if_alone(make_policy, sample_rows):
    policy = make_policy()
    (row,) = sample_rows(policy, 1, max_tokens=60)
    other = replace(row, tokens=np.where(np.arange(len(row.tokens)) == len(row.tokens) - 3, 7, row.tokens))
    together = policy.lay_out(np.stack([row.tokens, other.tokens]), np.stack([row.mask, other.mask]))
    assert together.num_computed < together.num_tokens, "the start is computed once"
    both = policy.logprobs(together, mixed=0.3)[0].view(2, -1)
    for i, one in enumerate((row, other)):
        alone = policy.logprobs(policy.lay_out(one.tokens[None], one.mask[None]), mixed=0.3)[0]
        assert torch.allclose(both[i], alone, atol=1e-3)


@pytest.mark.parametrize("engine", ["fast", "generic"])
def test_the_first_reading_keeps_no_graph(make_policy, sample_rows, engine):
    policy = make_policy(engine=engine)
    (row,) = sample_rows(policy, 1)
    layout = policy.lay_out(row.tokens[None], row.mask[None])
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        guesses = policy.guesses(layout)
    assert not kept and not guesses.requires_grad


@pytest.mark.parametrize("engine", ["fast", "generic"])
def test_a_later_token_changes_no_loss_before_it(make_policy, sample_rows, engine):
    policy = make_policy(engine=engine)
    (row,) = sample_rows(policy, 1)
    changed = row.tokens.copy()
    changed[-2] = (changed[-2] + 1) % 256
    read = [policy.logprobs(policy.lay_out(t[None], row.mask[None]), mixed=0.3)[0] for t in (row.tokens, changed)]
    assert torch.allclose(read[0][:-2], read[1][:-2], atol=1e-5)
    assert not torch.allclose(read[0][-2:], read[1][-2:], atol=1e-5)


def test_sampled_rows_are_not_compared_with_what_no_sampler_read(make_policy, sample_rows, batch_of):
    policy = make_policy()
    step(policy, sample_rows(policy), Intuitive(mixed=0.5), batch_of)  # their distance would be an alarm


def test_numbers_out_of_range_are_refused():
    with pytest.raises(BadInput, match="not a share"):
        Intuitive(gamma=1.0)
    with pytest.raises(BadInput, match="not a share"):
        Intuitive(mixed=-0.1)
