import math

import pytest
import torch

from evolvent.errors import BadInput
from evolvent.records import said
from evolvent.training.optim import AdamW, Muon
from evolvent.training.ranking import Ranking, RewardModel, ranking_loss

PROMPT = (said("user", "q"),)


def pair(better, worse, *prefix):
    return (PROMPT, (*prefix, better)), (PROMPT, (*prefix, worse))


def test_equal_scores_cost_log_two_whatever_they_are() -> None:
    for level in (0.0, -7.5):
        assert ranking_loss(torch.full((3,), level), torch.full((3,), level)).item() == pytest.approx(math.log(2))


def test_only_the_difference_counts_and_a_margin_of_log_three_costs_log_four_thirds() -> None:
    # -log sigmoid(log 3) = log(1 + 1/3)
    better, worse = torch.tensor([math.log(3)]), torch.tensor([0.0])
    assert ranking_loss(better, worse).item() == pytest.approx(math.log(4 / 3))
    assert ranking_loss(better + 5, worse + 5).item() == pytest.approx(math.log(4 / 3), abs=1e-6)


@pytest.mark.parametrize("engine", ["fast", "generic"])
def test_the_score_of_a_prefix_does_not_depend_on_what_follows_or_stands_beside(make_policy, engine) -> None:
    model = RewardModel(make_policy(engine=engine), seed=1)
    short, long = model.steps([(PROMPT, ("a=1;", "b=2;")), (PROMPT, ("a=1;", "b=2;", "c=3;"))])
    assert len(short) == 2 and len(long) == 3
    assert short == pytest.approx(long[:2], abs=1e-5)
    with torch.no_grad():
        assert model([(PROMPT, ("a=1;", "b=2;"))]).item() == pytest.approx(short[-1], abs=1e-5)
    assert model.steps([(PROMPT, ("a=1;b=2;",))])[0] == pytest.approx(short[1:], abs=1e-5)


def test_it_learns_which_step_is_better_and_never_touches_the_policy(make_policy) -> None:
    policy = make_policy()
    before = {n: p.detach().clone() for n, p in policy.model.named_parameters()}
    model = RewardModel(policy)
    pairs = [pair("good;", "evil;", prefix) for prefix in ("a;", "b;", "c;", "d;")]
    losses = Ranking(Muon(lr=0.02, rest=AdamW(lr=1e-2)), num_steps=30, pairs_per_step=3)(model, pairs, seed=0)
    assert losses[-1] < losses[0] / 5
    (good,), (evil,) = model.steps([(PROMPT, ("e;good;",)), (PROMPT, ("e;evil;",))])
    assert good > evil
    assert all(torch.equal(p, before[n]) for n, p in policy.model.named_parameters())


def test_the_same_seed_gives_the_same_scorer(make_policy) -> None:
    told = []
    for _ in range(2):
        model = RewardModel(make_policy(), seed=3)
        Ranking(AdamW(lr=1e-2), num_steps=3, pairs_per_step=5)(model, [pair("x", "y"), pair("v", "w", "u")], seed=1)
        told.append(model.steps([(PROMPT, ("x", "y"))])[0])
    assert told[0] == told[1]


def test_nothing_to_rank_is_refused(make_policy) -> None:
    with pytest.raises(BadInput, match="nothing to rank"):
        Ranking(AdamW(lr=1e-2), 1, 1)(RewardModel(make_policy()), [], seed=0)
    with pytest.raises(BadInput, match="without a step"):
        RewardModel(make_policy()).steps([(PROMPT, ())])
