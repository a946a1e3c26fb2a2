"""The parts that only these effects need; what the effects say is measured, not tested."""

import pytest
import torch

from evolvent.codec import from_json, to_json
from evolvent.credit.batch import assign
from evolvent.envs import calc
from evolvent.errors import BadInput, ToolError
from evolvent.plans import check
from evolvent.recipes import dr_grpo, p3o
from evolvent.records import Episode, Origin, Private, Reference, Task, Trace, Turn, said
from evolvent.rewards import judge_episodes
from evolvent.rewards.offset import Offset


def episode_of(task_id, sample, answer):
    """An attempt whose only turn is two tokens of the policy."""
    task = Task(
        task_id, "toy", 1, (said("user", "?"),), Private("1"), Reference("evolvent.rewards.verify:exact"), Origin("toy")
    )
    turn = Turn("0", None, "agent", 0, said("assistant", answer), (5, 6, 7), (False, True, True), (-1.0, -1.0))
    return Episode(f"{task_id}/{sample}", task, sample, (Trace(task_id, sample, "agent", "agent", (turn,)),), answer)


EPISODES = [episode_of(task, i, answer) for task in "abc" for i, answer in enumerate("10")]


def test_an_offset_is_one_number_for_all_attempts_at_a_task():
    scores = [s.value for s in Offset(std=5.0)(EPISODES)]
    first, second = scores[::2], scores[1::2]
    assert [a - b for a, b in zip(first, second, strict=True)] == pytest.approx([1, 1, 1])
    assert max(second) - min(second) > 0.1
    assert scores == [s.value for s in Offset(std=5.0)(EPISODES)]
    assert [s.value for s in Offset(mean=2.0)(EPISODES)] == [3, 2, 3, 2, 3, 2]


def test_an_offset_must_be_a_number():
    with pytest.raises(BadInput, match="no such offset"):
        Offset(std=-1.0)


def test_pairs_get_the_same_credit_under_any_offset_and_a_batch_does_not():
    def credits(plan, judge):
        batch = assign(judge_episodes(judge, EPISODES), "agent", plan.advantage, keeps_all=True)
        return torch.tensor([float(row.credit[-1]) for row in batch.rows])

    pairs, batch = p3o.small(), p3o.batched(p3o.small())
    assert torch.allclose(credits(pairs, Offset(std=5.0)), credits(pairs, Offset()), atol=1e-6)
    assert credits(pairs, Offset()).tolist() == [0.5, -0.5] * 3  # half the difference of 1 and 0
    assert not torch.allclose(credits(batch, Offset(std=5.0)), credits(batch, Offset()), atol=0.1)


def test_a_broken_calculator_stays_broken_for_an_episode():
    flaky = dr_grpo.Flaky(broken_frac=0.5)
    opened = [flaky.open(EPISODES[0].task, seed) for seed in range(200)]
    assert 70 < sum(tool is calc for tool in opened) < 130
    with pytest.raises(ToolError, match="out of order"):
        next(tool for tool in opened if tool is not calc)(expression="1+1")


def test_the_plan_with_a_flaky_tool_is_valid_and_survives_json():
    plan = check(dr_grpo.flaky(dr_grpo.build()))
    assert from_json(to_json(plan)) == plan
