from collections import Counter
from dataclasses import replace

import pytest

from evolvent.effects.arms import build_policies
from evolvent.evals.measure import Suite
from evolvent.plans import check
from evolvent.recipes import mars2
from evolvent.records import Sampling
from evolvent.rewards import judge_episodes
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.tree import nodes_of
from evolvent.seeds import stream
from evolvent.tasks import lookups
from evolvent.tasks.lookups import Lookups, items_of

SMALL = replace(mars2.build(), suite=Suite(num_tasks=2, num_tasks_during=2, num_levels=1, best_of=1))
TASKS = [Lookups().task("lookups", 1, i) for i in range(100)]


@pytest.fixture(scope="module")
def taught():
    """What every seat was shown of a hundred tasks."""
    plan = SMALL
    policies = build_policies(plan)
    stage = Stage(plan.cold_start.workflow, plan.world, policies, plan.seats, Sampling(16), plan.budgets)
    return play([Attempt(task, 0) for task in TASKS], stage)


def test_each_agent_is_shown_its_half_of_the_facts_and_guesses_at_the_other(taught):
    right = Counter()
    for episode in taught:
        for remainder, trace in enumerate(episode.traces):
            if len(trace.turns) > 2:  # a second attempt
                continue
            wanted = episode.task.private.answer.split()
            said = zip(items_of(episode.task), trace.turns[-1].message.text.split(), wanted, strict=True)
            for (_, first, _), word, due in said:
                right[trace.seat, first % 2 == remainder] += word == due
                right["num", trace.seat, first % 2 == remainder] += 1
    for seat in ("agent", "mate"):
        assert right[seat, True] == right["num", seat, True] > 0
        assert right[seat, False] < 0.5 * right["num", seat, False], "one digit of six is right by chance"


def test_a_second_attempt_keeps_what_passed_and_repeats_nothing_that_failed(taught):
    seen = 0
    for episode in taught:
        for trace in episode.traces:
            if len(trace.turns) < 3:
                continue
            *_, marks, reply = (turn.message.text for turn in trace.turns)
            for mark, word in zip(marks.split(), reply.split(), strict=True):
                seen += 1
                assert (word == mark[:2]) == mark.endswith("y")
    assert seen > 100


def test_arms_differ_in_how_attempts_are_made_and_not_in_how_many():
    plan = check(mars2.build())
    many = plan.tasks_per_step * plan.group_size * mars2.NUM_NODES
    beside = check(mars2.side_by_side(plan))
    assert beside.tasks_per_step * beside.group_size == many
    assert mars2.alone(plan).practice_workflow.max_num_nodes == plan.practice_workflow.max_num_nodes
    assert mars2.unshaped(plan).reward.shaping is None and plan.reward.shaping is not None


def test_a_tree_of_practice_is_scored_node_by_node_for_both_agents():
    policies = build_policies(SMALL)
    stage = Stage(SMALL.practice_workflow, SMALL.world, policies, SMALL.seats, Sampling(16, seed=3), SMALL.budgets)
    [episode] = judge_episodes(SMALL.reward, play([Attempt(TASKS[0], 0)], stage))
    nodes = nodes_of(episode.info)
    assert len(nodes) == mars2.NUM_NODES
    made = Counter(node.seat for node in nodes)
    for trace in episode.traces:
        if made[trace.seat]:
            assert len(trace.score.spans) == made[trace.seat] and len(trace.score.components) == len(nodes)


def test_a_spoiled_attempt_is_told_apart_from_the_answer():
    shares = [lookups.run_tests(task, mars2._spoil(task, stream(0, task.task_id)))[0] for task in TASKS]
    assert 0.6 < sum(shares) / len(shares) < 0.8
