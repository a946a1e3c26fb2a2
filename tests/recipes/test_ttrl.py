from dataclasses import dataclass, replace

import torch

from evolvent import Run, Suite, build_policy, improve
from evolvent.codec import to_json
from evolvent.models import ModelSpec
from evolvent.recipes import ttrl
from evolvent.tasks.mislabelled import Mislabelled

torch.set_num_threads(1)


@dataclass(frozen=True)
class Garbled(Mislabelled):
    """The same tasks with answers that are no answers."""

    def task(self, family, level, index, split="train"):
        task = Mislabelled.task(self, family, level, index, split)
        return replace(task, private=replace(task.private, answer=f"garbage {index}"))


def small(source):
    plan = ttrl.build()
    return replace(
        plan,
        source=source,
        model=ModelSpec(depth=1, max_context=64),
        cold_start=replace(plan.cold_start, num_steps=6, tasks_per_step=16),
        num_steps=3,
        tasks_per_step=4,
        suite=Suite(num_tasks=4, num_tasks_during=2, best_of=1),
        sinks=(),
    )


def carry_out(plan, folder):
    policies = {"agent": build_policy(plan.model, name="agent", seed=0)}
    run = Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    improve(plan, policies, run)
    return policies["agent"].model.state_dict(), [line for line in run.metrics() if line.get("phase") == "practice"]


def test_garbage_in_place_of_the_answers_gives_the_same_weights(tmp_path):
    clean = ttrl.build().source
    garbled = Garbled(clean.source, clean.share, clean.wrong)
    weights, lines = carry_out(small(clean), tmp_path / "clean")
    others, told = carry_out(small(garbled), tmp_path / "garbled")
    assert all(torch.equal(others[name], weight) for name, weight in weights.items())
    assert any(line["signal_share"] > 0 for line in lines)
    same = ("reward_mean", "signal_share", "length_mean", "reward/majority_ratio", "reward/tie")
    assert [[line[k] for k in same] for line in lines] == [[line[k] for k in same] for line in told]
    assert all({"reward/label_right", "reward/reward_right", "reward/truth_ratio"} <= set(line) for line in lines)


def test_what_practice_saw_can_be_drawn_again(tmp_path):
    plan = replace(small(ttrl.build().source), keep_episodes_every=1)
    policies = {"agent": build_policy(plan.model, name="agent", seed=0)}
    run = Run.create(to_json(plan), plan.recipe, plan.seed, tmp_path / "run")
    improve(plan, policies, run)
    seen = {e.task.question for step in range(7, 10) for e in run.episodes(step, name="")}
    assert seen == {task.question for task in ttrl.practised(plan)}
