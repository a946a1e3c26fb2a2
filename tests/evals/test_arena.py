from dataclasses import replace

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, GateFailed
from evolvent.evals.arena import Arena, Rounds
from evolvent.evals.diagnosis import world_name
from evolvent.synthesis.world_tasks import WorldTasks
from evolvent.tasks import source

ARENA = Arena(round_steps=10, num_worlds=3, tasks_per_world=2)
WORLDS = WorldTasks(num_worlds=4, structures=("lookup", "conditional_update"))


def rounds(arena=ARENA, tasks=WORLDS, num_steps=30, seed=0, **more):
    return Rounds(arena, tasks, num_steps, seed=seed, **more)


def test_rounds_come_between_stretches_of_practice():
    found = rounds(num_steps=30)
    assert len(found.tasks) == 2, "a round behind the last step would diagnose for nobody"
    assert [found.due(step) for step in (-1, 0, 5, 10, 11, 20)] == [0, 0, 0, 1, 0, 2]
    assert Rounds(None, WORLDS, 30, seed=0).due(10) == 0


def test_each_class_gets_its_worlds_and_each_world_its_tasks():
    first, _ = rounds().tasks
    for family in WORLDS.families:
        own = [task for task in first if task.family == family]
        worlds = [world_name(task) for task in own]
        assert len(set(worlds)) == 3
        assert all(worlds.count(world) == 2 for world in worlds)
    assert {task.split for task in first} == {"arena"}


def test_no_task_of_a_round_was_in_an_earlier_one():
    first, second = rounds().tasks
    assert not {t.problem for t in first} & {t.problem for t in second}
    assert {world_name(t) for t in first} != {world_name(t) for t in second}, "worlds are not drawn anew"


def test_what_is_held_out_for_measurement_is_never_in_a_round():
    plain = rounds()
    held_out = {plain.tasks[0][0].problem}
    again = rounds(held_out=held_out)
    assert not again.problems & held_out
    assert len(again.tasks[0]) == len(plain.tasks[0])


def test_rounds_depend_on_the_seed_alone():
    assert rounds(seed=1).problems == rounds(seed=1).problems
    assert rounds(seed=1).problems != rounds(seed=2).problems


def test_training_that_enters_a_world_of_the_arena_is_stopped():
    found = rounds()
    found.refuse([WORLDS.task("lookup", 1, i, "train") for i in range(50)])
    with pytest.raises(GateFailed, match="a world of the arena"):
        found.refuse([replace(found.tasks[1][0], task_id="smuggled", split="train")])


def test_a_source_that_knows_no_worlds_gives_as_many_tasks():
    chain = source("chain", 0)
    [only] = rounds(replace(ARENA, split="test"), chain, num_steps=20).tasks
    assert len(only) == 6
    assert len({task.task_id for task in only}) == 6


def test_an_arena_survives_json_and_refuses_what_cannot_be():
    assert from_json(to_json(ARENA)) == ARENA
    with pytest.raises(BadInput, match="not an arena"):
        Arena(round_steps=0)
