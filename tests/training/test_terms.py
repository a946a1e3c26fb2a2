import math

import pytest
import torch

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.training.gains import plain
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, Tokens, Totals, per_token, sequence_mean, token_mean
from evolvent.training.terms import KL, Entropy, Imitation, Preference, Terms, Value, k1, k2, k3, k3_weighted

ROW = torch.tensor([0, 0, 1])
TOTALS = Totals(3, 2, 1)


def tokens(**more):
    """Three tokens in two rows, log-probabilities -1, -2, -3, credit 1, 1, -1."""
    logprob = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    made = {"old_N": logprob.detach(), "credit_N": torch.tensor([1.0, 1.0, -1.0]), "row_N": ROW, "num_rows": 2}
    return Tokens(**{"logprob_N": logprob, **made, **more})


def added(term, given, reduce=token_mean):
    """What a term adds to a loss, its coefficient included."""
    base = PolicyLoss(per_token, Clip(0.2, 0.28), reduce)
    with_term = PolicyLoss(per_token, Clip(0.2, 0.28), reduce, terms=(term,))
    return (with_term(given, TOTALS) - base(given, TOTALS)).item()


def test_estimators_worked_by_hand():
    # the reference gives the first token twice the probability, the second half, the third the same
    given = tokens(reference_N=torch.tensor([-1 + math.log(2), -2 - math.log(2), -3.0]))
    assert k1(given).tolist() == pytest.approx([-0.693147, 0.693147, 0], abs=1e-5)
    assert k2(given).tolist() == pytest.approx([0.240227, 0.240227, 0], abs=1e-5)
    assert k3(given).tolist() == pytest.approx([0.306853, 0.193147, 0], abs=1e-5)
    assert added(KL(0.1, k1), given) == pytest.approx(0, abs=1e-6)
    assert added(KL(0.1, k2), given) == pytest.approx(0.1 * 0.480453 / 3, abs=1e-6)
    assert added(KL(0.1, k3), given) == pytest.approx(0.1 * 0.5 / 3, abs=1e-6)
    # off-policy: the second token is now twice as likely as when it was sampled
    given = tokens(reference_N=given.reference_N, old_N=torch.tensor([-1.0, -2 - math.log(2), -3.0]))
    assert k3_weighted(given).tolist() == pytest.approx([0.306853, 2 * 0.193147, 0], abs=1e-5)


def exact_gradients(estimator, old_logits=None):
    """The expected gradient of an estimator over every token of a small vocabulary, and those of both divergences."""
    logits = torch.tensor([0.3, -1.2, 0.9, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-0.5, 0.4, 0.1, 1.0], dtype=torch.float64).log_softmax(0)
    logprob = logits.log_softmax(0)
    old = logprob.detach() if old_logits is None else old_logits.log_softmax(0)
    given = Tokens(logprob, old, torch.zeros(4), torch.zeros(4, dtype=torch.long), 1, reference)
    (mine,) = torch.autograd.grad((old.exp() * estimator(given)).sum(), logits, retain_graph=True)
    (reverse,) = torch.autograd.grad((logprob.exp() * (logprob - reference)).sum(), logits, retain_graph=True)
    (forward,) = torch.autograd.grad((reference.exp() * (reference - logprob)).sum(), logits)
    return mine, reverse, forward


def test_on_policy_k2_has_the_gradient_of_the_divergence_k3_that_of_the_other_direction_and_k1_none():
    mine, reverse, forward = exact_gradients(k1)
    assert torch.allclose(mine, torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert not torch.allclose(reverse, forward, atol=0.05), "the directions must differ for this to say anything"
    assert torch.allclose(exact_gradients(k2)[0], reverse, atol=1e-12)
    assert torch.allclose(exact_gradients(k3)[0], forward, atol=1e-12)
    assert torch.allclose(exact_gradients(k3_weighted)[0], reverse, atol=1e-12)


def test_off_policy_only_the_weighted_estimator_stays_unbiased():
    old = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    mine, reverse, _ = exact_gradients(k3_weighted, old)
    assert torch.allclose(mine, reverse, atol=1e-12)
    assert not torch.allclose(exact_gradients(k2, old)[0], reverse, atol=0.05)


def test_an_entropy_bonus_worked_by_hand():
    entropy = torch.tensor([1.0, 0.5, 0.0], requires_grad=True)
    given = tokens(entropy_N=entropy)
    assert added(Entropy(0.01), given) == pytest.approx(-0.01 * 1.5 / 3)
    assert added(Entropy(0.01), given, sequence_mean) == pytest.approx(-0.01 * 0.75 / 2)
    PolicyLoss(per_token, plain, token_mean, terms=(Entropy(0.3),))(given, TOTALS).backward()
    assert entropy.grad.tolist() == pytest.approx([-0.1] * 3)  # downhill is upwards in entropy


def test_an_entropy_without_a_gradient_is_an_error_and_not_a_silence():
    with pytest.raises(BadInput, match="without a gradient"):
        added(Entropy(0.01), tokens(entropy_N=torch.ones(3)))
    frozen = tokens(logprob_N=torch.tensor([-1.0, -2.0, -3.0]), entropy_N=torch.ones(3))
    assert added(Entropy(0.01), frozen) == pytest.approx(-0.01)  # nobody asks for a gradient


def test_imitation_worked_by_hand():
    # the tokens of the first row have credit: -(-1 - 2) / 3
    assert added(Imitation(0.1), tokens()) == pytest.approx(0.1)
    # told otherwise: 3 / 3
    assert added(Imitation(0.1), tokens(good_N=torch.tensor([0.0, 0.0, 1.0]))) == pytest.approx(0.1 * 3 / 3)
    # the paper's mean over good tokens only: weights 3 / 2 make it (1 + 2) / 2
    assert added(Imitation(0.1), tokens(good_N=torch.tensor([1.5, 1.5, 0.0]))) == pytest.approx(0.15)


def test_a_value_worked_by_hand():
    value = torch.tensor([1.0, 0.0, 2.0], requires_grad=True)
    given = tokens(value_N=value, target_N=torch.tensor([0.0, 1.0, 2.0]), old_value_N=torch.tensor([0.0, 1.0, 2.0]))
    # squared errors 1, 1, 0: half their mean
    assert added(Value(1.0), given) == pytest.approx(1 / 3)
    # within 0.2 of the old values: 0.2, 0.8, 2; errors 0.04, 0.04, 0; the larger counts: as before
    assert added(Value(0.5, clip=0.2), given) == pytest.approx(0.5 / 3)
    # old values on the far side: near values -0.8 and 1.8 from targets 0 and 1: 0.64, 0.64 < 1
    away = tokens(value_N=value, target_N=given.target_N, old_value_N=torch.tensor([-1.0, 2.0, 2.0]))
    assert added(Value(1.0, clip=0.2), away) == pytest.approx(1 / 3)
    # a prediction that overshot its neighbourhood towards the target has no further pull
    value = torch.tensor([1.0], requires_grad=True)
    one = torch.zeros(1)
    given = Tokens(one, one, one, one.long(), 1, value_N=value, target_N=torch.tensor([1.5]), old_value_N=one)
    loss = Terms(token_mean, (Value(1.0, clip=0.2),))(given, Totals(1, 1))
    assert loss.item() == pytest.approx((0.2 - 1.5) ** 2 / 2)
    loss.backward()
    assert value.grad.item() == 0


def test_a_preference_worked_by_hand():
    # row 0 is better by credit; l_0 = 0.5 + 0.5 = 1, l_1 = -1: beta x 2 = 1, -log sigmoid(1) = 0.31326
    reference = torch.tensor([-1.5, -2.5, -2.0])
    pair = torch.tensor([[0, 1]])
    given = tokens(reference_N=reference, pair_P2=pair)
    assert added(Preference(1.0, beta=0.5), given) == pytest.approx(0.313262, abs=1e-5)
    # whichever comes first, the better one is pushed up
    swapped = tokens(reference_N=reference, pair_P2=pair.flip(-1))
    assert added(Preference(1.0, beta=0.5), swapped) == pytest.approx(0.313262, abs=1e-5)
    # a tie is no preference
    tie = tokens(reference_N=reference, pair_P2=pair, credit_N=torch.zeros(3))
    assert added(Preference(1.0, beta=0.5), tie) == 0
    # at the reference: log 2, and each token of a pair pulled by beta / 2
    given = tokens(reference_N=torch.tensor([-1.0, -2.0, -3.0]), pair_P2=pair)
    loss = Terms(token_mean, (Preference(1.0, beta=0.5),))(given, TOTALS)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert given.logprob_N.grad.tolist() == pytest.approx([-0.25, -0.25, 0.25])


@pytest.mark.parametrize(
    ("term", "field"),
    [
        (KL(0.1), "reference_N"),
        (Entropy(0.1), "entropy_N"),
        (Value(0.1), "value_N"),
        (Preference(0.1), "pair_P2"),
    ],
)
def test_what_a_term_needs_is_said_beforehand_and_missed_aloud(term, field):
    for loss in (PolicyLoss(per_token, plain, token_mean, terms=(term,)), Likelihood(token_mean, terms=(term,))):
        assert field in loss.needs
        with pytest.raises(BadInput, match=field):
            loss(tokens(), TOTALS)
    assert field in Terms(token_mean, (term,)).needs


def test_a_loss_says_everything_that_it_needs_once():
    loss = PolicyLoss(per_token, plain, token_mean, kl=0.1, terms=(Entropy(0.1), KL(0.1), Imitation(0.1)))
    assert loss.needs == ("entropy_N", "reference_N")
    assert PolicyLoss(per_token, plain, token_mean).needs == ()


def test_terms_add_up_over_micro_batches():
    generator = torch.Generator().manual_seed(0)
    lengths, pairs = [3, 1, 4, 2], torch.tensor([[0, 1], [3, 2]])
    row = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    draw = {name: torch.randn(10, generator=generator) for name in ("reference_N", "value_N", "target_N")}
    logprob, entropy = -torch.rand(10, generator=generator), torch.rand(10, generator=generator)
    credit = torch.randn(4, generator=generator)[row]
    terms = (KL(0.1), Entropy(0.2), Imitation(0.3), Value(0.4), Preference(0.5))
    loss = PolicyLoss(per_token, plain, token_mean, terms=terms)

    def part(rows, pair):
        here = torch.isin(row, torch.tensor(rows))
        given = {k: v[here] for k, v in draw.items()}
        old = logprob[here] - 0.1
        numbers = row[here] - rows[0]
        made = Tokens(
            logprob[here],
            old,
            credit[here],
            numbers,
            len(rows),
            entropy_N=entropy[here],
            pair_P2=pair - rows[0],
            **given,
        )
        return loss(made, Totals(10, 4, 2)).item()

    whole = part([0, 1, 2, 3], pairs)
    assert part([0, 1], pairs[:1]) + part([2, 3], pairs[1:]) == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        PolicyLoss(
            per_token, Clip(0.2, 0.28), token_mean, terms=(KL(0.05, k3_weighted), Entropy(0.01), Imitation(0.1))
        ),
        Terms(token_mean, (Value(0.5, 0.2), Preference(1.0))),
        Likelihood(token_mean, terms=(KL(0.1, k1),)),
    ],
)
def test_a_loss_with_terms_survives_json(loss):
    assert from_json(to_json(loss)) == loss
