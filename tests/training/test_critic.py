from dataclasses import replace

import numpy as np
import pytest
import torch

from evolvent.credit.batch import assign, rows_of
from evolvent.credit.gae import GAE, Fixed
from evolvent.errors import BadInput, GateFailed
from evolvent.records import Episode, Group, Message, Origin, Reference, Score, Task, Text, Trace, Turn, said
from evolvent.training.critic import Critic, whitened
from evolvent.training.losses import token_mean
from evolvent.training.optim import AdamW, Muon
from evolvent.training.terms import Terms, Value

PLAN = Critic(GAE(Fixed(0.5)), Terms(token_mean, (Value(1.0),)), AdamW(lr=0.01))


def heard(*tokens, starts=True):
    return Turn("0", None, "agent", 0, said("user", "q"), tokens, (False,) * len(tokens), starts_context=starts)


def spoken(*tokens, starts=False):
    message = Message("assistant", (Text("a"),))
    return Turn("1", "0", "agent", 1, message, tokens, (True,) * len(tokens), starts_context=starts)


def trace(name, sample, score, *turns):
    return Trace(name, sample, "agent", "agent", turns, score=Score(score))


def groups():
    """Two tasks; what follows prompt 10 is right and what follows prompt 20 is wrong."""
    good = [trace("good", i, 1.0, heard(1, 10), spoken(30 + i, 40, 50)) for i in range(2)]
    bad = [trace("bad", i, 0.0, heard(1, 20), spoken(30 + i, 40, 50, 60)) for i in range(2)]
    return [Group(("good", "agent"), tuple(good)), Group(("bad", "agent"), tuple(bad))]


def test_a_critic_that_expects_nothing_gives_the_score_discounted_by_lambda(make_policy):
    critic = PLAN.begin_beside(make_policy())
    good, bad = critic.by_trace(groups())
    assert [c.tolist() for c in good] == [[0, 0, 0.25, 0.5, 1.0]] * 2  # values are all 0 at first
    assert [c.tolist() for c in bad] == [[0, 0, 0, 0, 0, 0]] * 2
    assert critic.numbers["value_loss"] == pytest.approx(6 / 14 / 2)  # six of fourteen tokens have target 1, not 0
    assert critic.numbers["value_mean"] == 0.0 and critic.num_batches == 1


@pytest.mark.parametrize("engine", ["fast", "generic"])
@pytest.mark.parametrize("optimizer", [AdamW(lr=0.01), Muon(lr=0.02, rest=AdamW(lr=0.01))])
def test_a_critic_learns_what_to_expect_and_never_touches_its_policy(make_policy, engine, optimizer):
    policy = make_policy(engine=engine)
    before = {n: p.detach().clone() for n, p in policy.model.named_parameters()}
    critic = replace(PLAN, optimizer=optimizer, num_passes=3).begin_beside(policy)
    told = []
    for _ in range(12):
        credits = critic.by_trace(groups())
        told.append(critic.numbers)
    assert told[-1]["value_loss"] < told[0]["value_loss"] / 20
    assert told[0]["explained_variance"] == 0 and told[-1]["explained_variance"] > 0.9
    assert max(abs(c).max() for group in credits for c in group) < 0.5, "what is expected is no surprise"
    assert all(torch.equal(p, before[n]) for n, p in policy.model.named_parameters()) and policy.version == 0


def test_both_engines_have_the_same_values(make_policy):
    rows = [row for g in groups() for t in g.traces for row in rows_of(t, g.key, 1.0)]
    found = []
    for engine in ("fast", "generic"):
        critic = PLAN.begin_beside(make_policy(engine=engine))
        torch.nn.init.normal_(critic.model.head.weight, generator=torch.Generator().manual_seed(0))
        values = critic.values(rows)
        found.append(np.concatenate([values[id(r)] for r in rows]))
    assert np.allclose(found[0], found[1], atol=1e-4) and found[0].std() > 0.1


def test_the_variance_explained_is_that_of_returns_whatever_the_critic_is_trained_towards(make_policy):
    numbers = []
    for lam in (0.0, 1.0):
        critic = replace(PLAN, gae=GAE(Fixed(0.5), critic=Fixed(lam))).begin_beside(make_policy())
        torch.nn.init.normal_(critic.model.head.weight, generator=torch.Generator().manual_seed(0))
        rows = [row for g in groups() for t in g.traces for row in rows_of(t, g.key, 1.0)]
        values = critic.values(rows)
        value_N = np.concatenate([values[id(row)] for row in rows])
        critic.by_trace(groups())
        numbers.append(critic.numbers)
    # two traces of three tokens return 1 everywhere, two of four return 0: a variance of (6 / 14) (8 / 14)
    left = (np.repeat([1.0, 0.0], [6, 8]) - value_N).var() / (6 / 14 * 8 / 14)
    assert [n["explained_variance"] for n in numbers] == [pytest.approx(1 - left)] * 2
    assert numbers[0]["value_loss"] != pytest.approx(numbers[1]["value_loss"]), "the targets differ"


def test_a_value_knows_nothing_of_its_own_token(make_policy):
    critic = PLAN.begin_beside(make_policy())
    torch.nn.init.normal_(critic.model.head.weight, generator=torch.Generator().manual_seed(0))
    one, other = (rows_of(trace("t", 0, 1.0, heard(1, 2), spoken(3, 4, end)), ("t", "agent"), 1.0)[0] for end in (5, 6))
    values = critic.values([one, other])
    assert np.allclose(values[id(one)], values[id(other)], atol=1e-6)
    first, second = (rows_of(trace("t", 0, 1.0, heard(1, 2), spoken(x, 4, 5)), ("t", "agent"), 1.0)[0] for x in (3, 9))
    values = critic.values([first, second])
    assert values[id(first)][0] == pytest.approx(values[id(second)][0], abs=1e-6)
    assert abs(values[id(first)][1:] - values[id(second)][1:]).min() > 1e-4


def test_advantages_cross_tools_and_contexts_and_stand_at_their_tokens(make_policy):
    turns = (heard(1, 2), spoken(3), heard(4, starts=False), spoken(5), spoken(6, 7, starts=True))
    (credits,) = PLAN.begin_beside(make_policy()).by_trace([Group(("t", "agent"), (trace("t", 0, 1.0, *turns),))])
    # three tokens can be predicted: 3, 5 and 7; token 6 begins a context
    assert credits[0].tolist() == [0, 0, 0.25, 0, 0.5, 0, 1.0]


def test_value_pretraining_leaves_the_policy_without_credit(make_policy):
    critic = replace(PLAN, pretrain_batches=2).begin_beside(make_policy())
    task = Task("good", "f", 1, (said("user", "q"),), None, Reference("a:b"), Origin("made"))
    episodes = [Episode(f"good/{t.sample}", task, t.sample, (t,)) for t in groups()[0].traces]
    batches = [assign(episodes, "agent", critic) for _ in range(3)]
    assert [len(b.rows) for b in batches] == [0, 0, 2]
    assert batches[2].rows[0].is_good and batches[2].rows[0].credit.any()
    again = replace(PLAN, pretrain_batches=2).begin_beside(make_policy())
    again.restore(critic.state())
    assert assign(episodes, "agent", again).rows


def test_traces_that_cannot_be_trained_on_have_no_value(make_policy):
    critic = PLAN.begin_beside(make_policy())
    good, _ = groups()
    hidden = Group(good.key, tuple(replace(t, trainable=False) for t in good.traces))
    assert critic.by_trace([hidden]) == [[0.0, 0.0]] and critic.num_batches == 0
    assert critic.by_trace([]) == []


def test_whitened_advantages_have_mean_0_and_deviation_1():
    made = whitened({1: np.array([1.0, 2.0]), 2: np.array([3.0, 6.0])})
    assert np.concatenate(list(made.values())) == pytest.approx(np.array([-2, -1, 0, 3]) / 3.5**0.5)
    assert whitened({1: np.array([2.0, 2.0])})[1].tolist() == [0, 0] and whitened({}) == {}


def test_a_target_that_is_no_number_stops_before_the_weights(make_policy):
    critic = PLAN.begin_beside(make_policy())
    bad = Group(("t", "agent"), (trace("t", 0, float("nan"), heard(1, 2), spoken(3)),))
    with pytest.raises(GateFailed, match="not a finite number"):
        critic.by_trace([bad])
    assert critic.optimizer.num_updates == 0


@pytest.mark.parametrize("given", [{"num_passes": 0}, {"pretrain_batches": -1}])
def test_a_critic_that_cannot_be_is_refused(given):
    with pytest.raises(BadInput, match="no such critic"):
        replace(PLAN, **given)
