import json
from dataclasses import replace

import pytest
import torch

from evolvent import Run, Suite, build_policy, improve
from evolvent.codec import to_json
from evolvent.credit.across import MovingBaseline, together
from evolvent.credit.advantage import Centred, PassAtK, Standardized, imitate
from evolvent.credit.gae import GAE, Fixed
from evolvent.curriculum.refill import Refill
from evolvent.errors import BadInput
from evolvent.models import ModelSpec
from evolvent.plans import check
from evolvent.recipes import circle
from evolvent.records import Score
from evolvent.rollouts.seat import Budgets
from evolvent.training.critic import Critic
from evolvent.training.gains import Truncated
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.terms import KL, Imitation, Terms, Value

torch.set_num_threads(1)


class StoppedHereError(Exception):
    """Stands for a kill."""


PLAN = replace(
    circle.build(),
    recipe="tiny",
    model=ModelSpec(depth=1, max_context=128),
    cold_start=None,
    advantage=MovingBaseline(decay=0.5, start=0.5, part=together),
    loss=PolicyLoss(per_token, Clip(0.2, 0.2), token_mean, correction=Truncated(2.0), terms=(KL(0.1), Imitation(0.1))),
    num_steps=4,
    tasks_per_step=2,
    group_size=2,
    budgets=Budgets(turn_tokens=8, context_tokens=128, episode_tokens=16),
    suite=Suite(num_tasks=4, num_tasks_above=2, num_tasks_during=2, num_levels=2),
    checkpoint_every=1,
    keep_checkpoints=9,
    sinks=(),
)


def carry_out(plan, folder, stop_at=None):
    def watch(event):
        if event["step"] == stop_at:
            raise StoppedHereError

    begun = (folder / "run.json").exists()
    run = Run.reopen(folder) if begun else Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    try:
        improve(plan, {"agent": build_policy(plan.model, name="agent", seed=plan.seed)}, run, watch)
    except StoppedHereError:
        assert stop_at is not None
    return run


def bytes_of(run):
    return {
        str(p.relative_to(run.path)): p.read_bytes()
        for p in [
            run.path / "metrics.jsonl",
            *run.path.glob("checkpoints/*/**/*.safetensors"),
            *run.path.glob("checkpoints/*/**/memory.json"),
        ]
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return carry_out(PLAN, tmp_path_factory.mktemp("live") / "run")


def test_an_advantage_that_remembers_moves_from_step_to_step_and_is_kept(whole):
    kept = {name: text for name, text in bytes_of(whole).items() if name.endswith("memory.json")}
    assert len(kept) >= 4
    # nobody scores anything yet: 0.5, 0.25, 0.125 ... unless an attempt was lucky
    assert all(b'"baselines"' in text for text in kept.values())
    assert len(set(kept.values())) == len(kept)


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    return carry_out(replace(PLAN, updates_per_batch=2), tmp_path_factory.mktemp("parts") / "run")


def test_a_batch_in_two_parts_makes_two_updates_and_the_second_is_off_policy(in_parts, whole):
    steps = [line for line in in_parts.metrics() if line.get("num_rows")]
    kept = json.loads(sorted(in_parts.path.glob("checkpoints/*/**/memory.json"))[-1].read_text())
    assert kept["versions"]["agent"] == 2 * len(steps) > 2
    assert all(line["max_logprob_gap"] < 1e-3 for line in steps)
    assert bytes_of(in_parts) != bytes_of(whole)


@pytest.mark.parametrize("step", [2, 3])
def test_a_run_of_several_updates_a_batch_goes_on_where_it_was_killed(in_parts, tmp_path, step):
    plan = replace(PLAN, updates_per_batch=2)
    carry_out(plan, tmp_path / "run", stop_at=step)
    assert bytes_of(carry_out(plan, tmp_path / "run")) == bytes_of(in_parts)


@pytest.mark.parametrize("step", [2, 3])
def test_an_advantage_that_remembers_goes_on_where_a_killed_run_left_it(whole, tmp_path, step):
    carry_out(PLAN, tmp_path / "run", stop_at=step)
    assert bytes_of(carry_out(PLAN, tmp_path / "run")) == bytes_of(whole)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"updates_per_batch": 0}, "updates_per_batch"),
        ({"refill": Refill(), "advantage": imitate, "group_size": 1}, "group_size"),
        ({"advantage": Centred(), "group_size": 1}, "group_size"),
        ({"advantage": PassAtK(k=4, threshold=0.5), "group_size": 3}, "group_size"),
    ],
)
def test_a_plan_whose_batches_cannot_be_is_refused(changes, where):
    with pytest.raises(BadInput, match=rf"where:\s+{where}"):
        check(replace(PLAN, **changes))


def test_a_term_that_needs_a_reference_gets_one(whole):
    assert list(whole.path.glob("checkpoints/*/**/*reference*")), "the frozen copy is part of what a run keeps"
    bare = replace(PLAN.loss, terms=())
    assert bare.needs == ("sampler_N",) and "reference_N" in PLAN.loss.needs


# ---------------------------------------------------------------- dynamic sampling


def parity(episodes):
    """Whether the ids that were written add up to odd: scores that differ though nobody knows anything."""
    return [
        Score(float(sum(t * m for t, m in zip(e.traces[0].tokens, e.traces[0].mask, strict=True)) % 2))
        for e in episodes
    ]


REFILLED = replace(
    PLAN,
    reward=parity,
    advantage=Standardized(ddof=1, eps=1e-4),
    loss=PolicyLoss(per_token, Clip(0.2, 0.28), token_mean),
    tasks_per_step=3,
    keep_episodes_every=1,
    refill=Refill(max_draws=5),
)


def practised(run):
    return [line for line in run.metrics() if "phase" in line]


@pytest.fixture(scope="module")
def refilled(tmp_path_factory):
    return carry_out(REFILLED, tmp_path_factory.mktemp("refill") / "run")


def test_a_step_is_refilled_until_it_is_full_and_what_was_refused_is_seen_and_told(refilled):
    lines = practised(refilled)
    assert any(line["num_drawn"] > 3 for line in lines), "some group in four steps had no spread"
    for line in lines:
        num = line["num_drawn"] - line["refused_groups"]
        assert num == 3 or (num < 3 and line["num_drawn"] > 3)
        assert line["num_rows"] == 2 * num and line["signal_share"] == 1.0
        assert line["num_episodes"] == 2 * line["num_drawn"] == sum(line["levels"].values())
        assert line["admitted_share"] == pytest.approx(num / line["num_drawn"])
        assert 0 <= line["refused_tokens"] < line["num_written"]
        questions = [e.task.question for e in refilled.episodes(line["step"], name="")]
        assert len(set(questions)) == line["num_drawn"], "no task comes twice in a step"


def test_the_first_draw_of_a_step_is_the_one_of_a_run_without_refilling(refilled, tmp_path):
    plain = carry_out(replace(REFILLED, refill=None, num_steps=1), tmp_path / "run")
    mine, theirs = (run.episodes(1, name="") for run in (refilled, plain))
    assert mine[:6] == theirs and "num_drawn" not in practised(plain)[0]


@pytest.mark.parametrize("step", [2, 3])
def test_a_run_that_refills_goes_on_where_it_was_killed(refilled, tmp_path, step):
    carry_out(REFILLED, tmp_path / "run", stop_at=step)
    assert bytes_of(carry_out(REFILLED, tmp_path / "run")) == bytes_of(refilled)


def test_draws_that_are_all_refused_end_and_change_no_weight(tmp_path):
    plan = replace(REFILLED, reward=nobody, refill=Refill(max_draws=3), num_steps=1)
    (line,) = practised(carry_out(plan, tmp_path / "run"))
    assert line["num_rows"] == 0 and line["num_drawn"] == line["refused_groups"] == 9


def nobody(episodes):
    """Nobody is right."""
    return [Score(0.0) for _ in episodes]


# ---------------------------------------------------------------- a critic

VALUED = replace(
    PLAN,
    reward=parity,
    advantage=Critic(
        GAE(Fixed(0.95)), Terms(token_mean, (Value(1.0, clip=0.2),)), AdamW(lr=1e-3), num_passes=2, pretrain_batches=1
    ),
    loss=PolicyLoss(per_token, Clip(0.2, 0.2), token_mean),
    updates_per_batch=2,
)


@pytest.fixture(scope="module")
def valued(tmp_path_factory):
    return carry_out(VALUED, tmp_path_factory.mktemp("valued") / "run")


def test_a_critic_is_fitted_first_and_then_both_learn(valued):
    lines = practised(valued)
    assert [line["num_rows"] > 0 for line in lines] == [False, True, True, True]
    assert all(line["value_loss"] > 0 and line["critic_grad_norm"] > 0 for line in lines)
    assert len(list(valued.path.glob("checkpoints/*/**/agent.critic*"))) == 2 * 5


@pytest.mark.parametrize("step", [2, 3])
def test_a_critic_goes_on_where_a_killed_run_left_it(valued, tmp_path, step):
    carry_out(VALUED, tmp_path / "run", stop_at=step)
    assert bytes_of(carry_out(VALUED, tmp_path / "run")) == bytes_of(valued)
