import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from evolvent.credit.advantage import Standardized
from evolvent.credit.batch import assign
from evolvent.errors import BadInput, GateFailed
from evolvent.models import attach_lora
from evolvent.recipes.vapo import ImitateCorrect
from evolvent.records import Episode, Message, Origin, Reference, Score, Task, Text, Trace, Turn, said
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, sequence_mean, token_mean
from evolvent.training.optim import AdamW, Muon
from evolvent.training.terms import KL, Entropy, Imitation
from evolvent.training.update import reaches_all_rows, split_groups, update

RL = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean)
SFT = Likelihood(token_mean)
PLAN = AdamW(lr=1e-3)


def train(policy, batch, loss=RL, *, optimizer=None, micro_tokens=512, bound=1e-3, **more):
    optimizer = optimizer or PLAN.begin(policy.named_parameters())
    return update(policy, optimizer, batch, loss, micro_tokens=micro_tokens, max_logprob_gap=bound, **more)


def weights(policy):
    return {n: p.detach().clone() for n, p in policy.model.named_parameters()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def logprob_of(policy, row):
    with torch.no_grad():
        logprob, _ = policy.logprobs(policy.lay_out(row.tokens[None], row.mask[None]))
    return float(logprob.sum())


@pytest.mark.parametrize("engine", ["fast", "generic"])
@pytest.mark.parametrize("plan", [PLAN, Muon(lr=0.01, rest=PLAN)])
def test_two_runs_are_the_same_to_the_last_bit(make_policy, sample_rows, batch_of, engine, plan):
    ends = []
    for _ in range(2):
        policy = make_policy(engine=engine)
        optimizer = plan.begin(policy.named_parameters())
        told = [train(policy, batch_of(sample_rows(policy)), optimizer=optimizer, micro_tokens=64) for _ in range(3)]
        ends.append((told, weights(policy), optimizer.state()))
    assert ends[0][0] == ends[1][0]
    assert same_bits(ends[0][1], ends[1][1]) and same_bits(ends[0][2], ends[1][2])
    assert not same_bits(ends[0][1], weights(make_policy()))


@pytest.mark.parametrize("reduce", [token_mean, sequence_mean])
def test_the_size_of_micro_batches_changes_nothing_but_rounding(make_policy, sample_rows, batch_of, reduce):
    rows = sample_rows(make_policy())
    told, ends = [], []
    for micro_tokens in (25, 60, 4096):
        policy = make_policy()
        # with a large eps the step is in proportion to the gradient, so that rounding is not blown up to a sign
        optimizer = AdamW(lr=1.0, eps=1.0, max_grad_norm=1e9).begin(policy.named_parameters())
        loss = PolicyLoss(per_token, Clip(0.2, 0.28), reduce)
        told.append(train(policy, batch_of(rows), loss, optimizer=optimizer, micro_tokens=micro_tokens))
        ends.append(weights(policy))
    for other, end in zip(told[1:], ends[1:], strict=True):
        assert other["loss"] == pytest.approx(told[0]["loss"], abs=1e-6)
        assert other["grad_norm"] == pytest.approx(told[0]["grad_norm"], rel=1e-4)
        assert all(torch.allclose(end[n], ends[0][n], atol=1e-6) for n in end)
    assert told[0]["padding_share"] < told[2]["padding_share"]


def test_the_order_of_episodes_changes_nothing(make_policy):
    def episodes(policy):
        for i in range(4):
            tokens = tuple(range(10 + i, 14 + 2 * i))
            turns = (
                Turn("0", None, "agent", 0, said("user", "q"), (1, 2), (False, False), starts_context=True),
                Turn("1", "0", "agent", 1, Message("assistant", (Text("a"),)), tokens, (True,) * len(tokens)),
            )
            task = Task("t", "f", 1, (said("user", "q"),), None, Reference("a:b"), Origin("made"))
            yield Episode(f"t/{i}", task, i, (Trace("t", i, "agent", policy, turns, score=Score(float(i % 2))),))

    ends = []
    for order in (1, -1):
        policy = make_policy()
        batch = assign(list(episodes(policy.name))[::order], policy.name, Standardized(1, 1e-4))
        told = train(policy, batch, micro_tokens=40)
        ends.append((told, weights(policy)))
    assert ends[0][0] == ends[1][0] and same_bits(ends[0][1], ends[1][1])


def test_what_was_good_becomes_likelier_and_what_was_bad_rarer(make_policy, sample_rows, batch_of):
    policy = make_policy()
    good, bad = rows = sample_rows(policy, 2, credit=[1.0, -1.0])
    before = [logprob_of(policy, r) for r in rows]
    told = train(policy, batch_of(rows))
    assert logprob_of(policy, good) > before[0] and logprob_of(policy, bad) < before[1]
    assert policy.version == 1
    assert told["num_rows"] == 2 and told["num_tokens"] == good.num_targets + bad.num_targets
    # exactly on-policy every ratio is 1: the loss is minus the mean credit
    credit = np.concatenate([r.credit[r.mask] for r in rows])
    assert told["loss"] == pytest.approx(-credit.mean(), abs=1e-6)
    assert told["max_logprob_gap"] < 1e-4 and abs(told["kl_sampler_trainer"]) < 1e-4
    assert 0 < told["entropy"] < math.log(300) and told["lr"] == 1e-3 and told["grad_norm"] > 0


def recited(row):
    return replace(
        row, known=np.zeros_like(row.mask), sampler_logprobs=np.zeros(len(row.tokens)), credit=np.abs(row.credit)
    )


def test_imitation_goes_through_the_same_update(make_policy, sample_rows, batch_of):
    policy = make_policy()
    rows = [recited(r) for r in sample_rows(make_policy(seed=9), credit=[1.0] * 6)]
    optimizer = AdamW(lr=0.01).begin(policy.named_parameters())
    losses = [train(policy, batch_of(rows), SFT, optimizer=optimizer)["loss"] for _ in range(6)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] - 0.5
    assert losses[0] == pytest.approx(
        -sum(logprob_of(make_policy(), r) for r in rows) / sum(r.num_targets for r in rows), rel=1e-4
    )


def test_nothing_to_learn_from_changes_nothing(make_policy, batch_of):
    policy = make_policy()
    before = weights(policy)
    assert train(policy, batch_of([])) == {"num_rows": 0, "num_tokens": 0}
    assert same_bits(before, weights(policy)) and policy.version == 0


# ---------------------------------------------------------------- several updates a batch


def in_groups(rows, num):
    return [replace(r, group=(f"t{i % num}", "agent")) for i, r in enumerate(rows)]


def test_parts_hold_whole_groups_and_every_row_once_whatever_the_order(make_policy, sample_rows):
    rows = in_groups(sample_rows(make_policy()), 3)
    parts = split_groups(rows, 2)
    assert [sorted({r.group[0] for r in p}) for p in parts] == [["t0", "t2"], ["t1"]]
    assert sorted(r.trace for p in parts for r in p) == sorted(r.trace for r in rows)
    again = split_groups(rows[::-1], 2)
    assert [{r.trace for r in p} for p in again] == [{r.trace for r in p} for p in parts]
    assert len(split_groups(rows, 9)) == 3 and split_groups(rows, 1) == [rows]


def test_parts_of_a_likelihood_are_updates_one_after_the_other(make_policy, sample_rows, batch_of):
    rows = in_groups(sample_rows(make_policy()), 3)
    one, other = make_policy(), make_policy()
    told = train(one, batch_of(rows), SFT, optimizer=PLAN.begin(one.named_parameters()), bound=9, num_parts=3)
    optimizer = PLAN.begin(other.named_parameters())
    apart = [train(other, batch_of(p), SFT, optimizer=optimizer, bound=9) for p in split_groups(rows, 3)]
    assert same_bits(weights(one), weights(other)) and one.version == 3
    assert told["loss"] == pytest.approx(sum(a["loss"] for a in apart) / 3)
    assert told["grad_norm"] == pytest.approx(sum(a["grad_norm"] for a in apart) / 3)
    assert told["num_tokens"] == sum(a["num_tokens"] for a in apart) and told["num_rows"] == 6


@dataclass(frozen=True)
class Watched:
    """A policy loss that keeps the ratios it saw."""

    seen: list

    def __call__(self, tokens, totals):
        self.seen.append((tokens.logprob_N - tokens.old_N).exp().detach())
        return RL(tokens, totals)

    def num_cut(self, tokens):
        return RL.num_cut(tokens)

    def drift(self, tokens):
        return RL.drift(tokens)


@pytest.mark.parametrize("engine", ["fast", "generic"])
def test_the_ratio_is_one_until_the_first_step_and_then_the_clip_holds(make_policy, sample_rows, batch_of, engine):
    policy = make_policy(engine=engine)
    rows = in_groups(sample_rows(policy), 2)
    seen = []
    optimizer = AdamW(lr=0.05).begin(policy.named_parameters())
    told = train(policy, batch_of(rows), Watched(seen), optimizer=optimizer, micro_tokens=4096, num_parts=2)
    assert torch.equal(seen[0], torch.ones_like(seen[0]))
    assert len(seen) == 2 and (seen[1] - 1).abs().max() > 0.3
    assert told["clip_share"] > 0
    drift = torch.cat(seen) - 1
    assert told["ratio_spread"] == pytest.approx(drift.square().mean().sqrt().item(), rel=1e-4)
    assert told["max_logprob_gap"] < 1e-4, "the sampler is compared with the weights that sampled"


def test_a_gap_in_the_last_part_stops_before_the_first_step(make_policy, sample_rows, batch_of):
    policy = make_policy()
    rows = in_groups(sample_rows(policy), 3)
    stopped(policy, batch_of([*rows[:-1], shifted(rows[-1])]), "disagree", num_parts=3)


def test_good_rows_are_told_to_a_loss_that_asks_and_weigh_as_a_mean_over_them(make_policy, sample_rows, batch_of):
    policy = make_policy()
    rows = [replace(r, is_good=i < 2) for i, r in enumerate(sample_rows(policy, credit=[0.0] * 6))]
    wanted = -sum(logprob_of(policy, r) for r in rows[:2]) / sum(r.num_targets for r in rows[:2])
    loss = replace(RL, terms=(ImitateCorrect(1.0),))
    told = train(policy, batch_of(rows), loss, micro_tokens=40)
    assert told["loss"] == pytest.approx(wanted, rel=1e-5)
    none = train(
        make_policy(),
        batch_of(sample_rows(policy, credit=[0.0] * 6)),
        replace(RL, terms=(ImitateCorrect(1.0),)),
        bound=99,
    )
    assert none["loss"] == 0.0


def test_a_loss_says_whether_rows_without_credit_are_its_business():
    assert not reaches_all_rows(RL) and not reaches_all_rows(SFT) and not reaches_all_rows(Steep())
    assert not reaches_all_rows(replace(RL, terms=(Imitation(0.1),)))
    assert reaches_all_rows(replace(RL, kl=0.1)) and reaches_all_rows(replace(SFT, kl=0.1))
    assert all(reaches_all_rows(replace(RL, terms=(term,))) for term in (KL(0.1), Entropy(0.1)))


# ---------------------------------------------------------------- an entropy with its gradient


@pytest.mark.parametrize("engine", ["fast", "generic"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_entropy_bonus_raises_entropy_and_a_penalty_lowers_it(make_policy, sample_rows, batch_of, engine, sign):
    policy = make_policy(engine=engine)
    rows = sample_rows(policy, credit=[1e-9] * 6)
    loss = replace(RL, terms=(Entropy(sign),))
    optimizer = AdamW(lr=3e-3).begin(policy.named_parameters())
    told = [train(policy, batch_of(rows), loss, optimizer=optimizer, bound=99) for _ in range(4)]
    assert sign * (told[-1]["entropy"] - told[0]["entropy"]) > 0.01
    assert told[0]["loss"] == pytest.approx(-sign * told[0]["entropy"], rel=1e-5)


# ---------------------------------------------------------------- gates, each with a planted bug


def stopped(policy, batch, match, **more):
    """The update must stop, with weights, version and optimizer as they were; returns the error."""
    before = weights(policy)
    optimizer = PLAN.begin(policy.named_parameters())
    with pytest.raises(GateFailed, match=match) as caught:
        train(policy, batch, optimizer=optimizer, **more)
    assert same_bits(before, weights(policy)) and policy.version == 0 and optimizer.num_updates == 0
    return caught.value


def shifted(row):
    """Log-probabilities one token late: the bug of counting the prompt's last token as the first written one."""
    sampler = np.roll(row.sampler_logprobs, 1) * row.mask
    return replace(row, sampler_logprobs=sampler)


def test_log_probabilities_shifted_by_one_token_stop_the_run(make_policy, sample_rows, batch_of):
    policy = make_policy()
    rows = sample_rows(policy)
    error = stopped(policy, batch_of([*rows[1:], shifted(rows[0])]), "sampler and the trainer disagree")
    assert "version 0" in error.where and "0.001" in str(error.wanted)
    train(policy, batch_of(rows))  # the same rows as they were pass


def test_stale_weights_stop_the_run(make_policy, sample_rows, batch_of):
    stopped(make_policy(seed=1), batch_of(sample_rows(make_policy(seed=0))), "disagree")


def test_a_recited_row_beside_a_sampled_one_does_not_hide_it_from_the_gate(make_policy, sample_rows, batch_of):
    policy = make_policy()
    first, second, *_ = sample_rows(policy)
    stopped(policy, batch_of([recited(first), shifted(second)]), "disagree", micro_tokens=4096)
    train(policy, batch_of([recited(first), second]))


@pytest.mark.parametrize("place", [0, 5])
def test_a_log_probability_that_is_no_number_stops_the_run_in_whichever_micro_batch(
    make_policy, sample_rows, batch_of, place
):
    policy = make_policy()
    rows = list(sample_rows(policy))
    rows[place] = replace(rows[place], sampler_logprobs=np.where(rows[place].mask, math.nan, 0.0))
    stopped(policy, batch_of(rows), "disagree", micro_tokens=30)


def test_a_loss_that_is_no_number_stops_before_the_weights(make_policy, sample_rows, batch_of):
    policy = make_policy()
    rows = list(sample_rows(policy))
    rows[2] = replace(rows[2], credit=rows[2].credit * np.float32(math.nan))
    stopped(policy, batch_of(rows), "not a finite number")


@dataclass(frozen=True)
class Steep:
    """A finite loss whose gradient is not: the root of zero."""

    def __call__(self, tokens, totals):
        return (tokens.logprob_N - tokens.old_N).sqrt().sum()


def test_a_gradient_that_is_no_number_stops_before_the_weights(make_policy, sample_rows, batch_of):
    policy = make_policy()
    stopped(policy, batch_of(sample_rows(policy)), "not a finite number", loss=Steep())


def test_a_stopped_update_leaves_nothing_behind_for_the_next(make_policy, sample_rows, batch_of):
    ends = []
    for fails_first in (True, False):
        policy = make_policy()
        rows = sample_rows(policy)
        if fails_first:
            stopped(policy, batch_of([shifted(rows[0]), *rows[1:]]), "disagree")
        train(policy, batch_of(rows))
        ends.append(weights(policy))
    assert same_bits(*ends)


# ---------------------------------------------------------------- a reference, an adapter


def test_a_kl_term_pulls_towards_the_reference_and_never_moves_it(make_policy, sample_rows, batch_of):
    loss = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, kl=1.0)
    policy, reference = make_policy(seed=0), make_policy(seed=5).copy()
    rows = sample_rows(policy, credit=[1e-6] * 6)
    before, frozen = abs(logprob_of(policy, rows[0]) - logprob_of(reference, rows[0])), weights(reference)
    optimizer = AdamW(lr=3e-3).begin(policy.named_parameters())
    for _ in range(5):
        train(policy, batch_of(rows), loss, optimizer=optimizer, bound=99, reference=reference)
    assert abs(logprob_of(policy, rows[0]) - logprob_of(reference, rows[0])) < before
    assert same_bits(frozen, weights(reference)) and all(p.grad is None for p in reference.model.parameters())


def test_a_reference_equal_to_the_policy_adds_nothing(make_policy, sample_rows, batch_of):
    ends = []
    for kl in (0.0, 1.0):
        policy = make_policy()
        loss = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, kl)
        told = train(policy, batch_of(sample_rows(policy)), loss, reference=policy.copy() if kl else None)
        ends.append((told["loss"], told["grad_norm"]))
    assert ends[1] == pytest.approx(ends[0], rel=1e-5)


def test_a_kl_term_without_a_reference_is_refused(make_policy, sample_rows, batch_of):
    policy = make_policy()
    with pytest.raises(BadInput, match="needs a reference"):
        train(policy, batch_of(sample_rows(policy)), PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, kl=0.1))


@pytest.mark.parametrize("plan", [PLAN, Muon(lr=0.01, rest=PLAN)])
def test_an_adapter_learns_alone(make_policy, sample_rows, batch_of, plan):
    policy = make_policy(adapt=attach_lora)
    before = weights(policy)
    train(policy, batch_of(sample_rows(policy)), optimizer=plan.begin(policy.named_parameters()))
    changed = {n for n, p in weights(policy).items() if not torch.equal(p, before[n])}
    assert changed and all("lora_" in n for n in changed)
