from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.envs.gym import Gym
from evolvent.envs.toolbox import SEAT
from evolvent.errors import BadInput, MissingExtra
from evolvent.policies.scripted import Oracle
from evolvent.records import Message, Origin, Reference, Sampling, Task, ToolCall, said
from evolvent.rewards import by_task, judge_episodes
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import ToolLoop
from evolvent.synthesis.gym_tasks import GymTasks, best_actions, reached, starts_of

pytest.importorskip("gymnasium")

task = Task("t", "hand", 1, (said("user", "go"),), None, Reference("evolvent.rewards.verify:exact"), Origin(""))
LAKE = Gym("FrozenLake-v1", {"is_slippery": False})
SLIPPERY = Gym("FrozenLake-v1", {"is_slippery": True})


def act(action: object) -> ToolCall:
    return ToolCall("act", {"action": action})


async def test_a_lake_is_seen_as_text_and_walked_by_name_or_number():
    async with LAKE.open(task, 0) as world:
        assert world.observe(SEAT)[0].text.splitlines()[0] == "[S] F  F  F"
        down = await world.call(SEAT, act("down"))
        assert down.text.splitlines()[:2] == [" S  F  F  F", "[F] H  F  H"] and not down.is_error
        over = await world.call(SEAT, act(2))
        assert over.text.endswith("the episode is over")
        assert world.evidence() == {"return": 0.0, "num_steps": 2, "terminated": True, "truncated": False}
        late = await world.call(SEAT, act("left"))
        assert late.is_error and late.text == "error: the episode is over; answer now"


async def test_what_is_no_action_is_an_observation_that_names_the_actions():
    async with LAKE.open(task, 0) as world:
        for wrong, words in [
            ("downn", "wanted one of"),
            (4, "there is no action 4 (wanted left, down, right, up, or 0 to 3)"),
            (None, "'action' is null"),
        ]:
            heard = await world.call(SEAT, act(wrong))
            assert heard.is_error and words in heard.text, heard.text
        assert (await world.call(SEAT, ToolCall("act", {}))).is_error
        assert world.evidence()["num_steps"] == 0


async def test_a_plain_word_is_an_action_in_a_step_and_reward_and_end_come_back():
    async with LAKE.open(task, 0) as world:
        for word in ["down", "down", "right", "1", "Right", "right"]:
            step = (await world.step({SEAT: said("assistant", word)}))[SEAT]
        assert step.reward_components == {"return": 1.0} and step.done and not step.truncated
        wrong = (await world.step({SEAT: said("assistant", "fly")}))[SEAT]
        assert wrong.observation[0].text.startswith("error: ")


async def test_rewards_are_told_where_the_plan_says_so():
    async with Gym("CliffWalking-v1", tells_reward=True).open(task, 0) as world:
        assert (await world.call(SEAT, act("right"))).text == "you stand in row 3, column 0\nreward -100"


async def test_time_runs_out_and_this_is_no_end_of_the_world_by_itself():
    async with LAKE.open(task, 0) as world:
        for _ in range(100):
            step = (await world.step({SEAT: Message("assistant", (act("left"),))}))[SEAT]
        assert (step.done, step.truncated) == (False, True)
        assert "out of time" in step.observation[0].text


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=6), st.integers(0, 5))
async def test_a_snapshot_brings_back_the_state_with_its_chance(before, after, seed):
    world, twin = SLIPPERY.open(task, seed), SLIPPERY.open(task, seed)
    for action in before:
        await world.call(SEAT, act(action))
    kept, digest = world.snapshot(), world.state_digest()
    first = [await world.call(SEAT, act(action)) for action in after]
    world.restore(kept)
    twin.restore(kept)
    assert world.state_digest() == twin.state_digest() == digest
    assert [await world.call(SEAT, act(action)) for action in after] == first
    assert [await twin.call(SEAT, act(action)) for action in after] == first


async def test_an_environment_that_does_not_repeat_itself_is_found_out():
    import gymnasium

    class Drifting(gymnasium.Env):
        action_space = gymnasium.spaces.Discrete(2)
        observation_space = gymnasium.spaces.Text(10)
        runs = 0

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            type(self).runs += 1
            self.hidden = type(self).runs
            return "start", {}

        def step(self, action):
            return f"at {action}", 0.0, False, False, {}

    gymnasium.register("Drifting-v0", Drifting)
    try:
        async with Gym("Drifting-v0").open(task, 0) as world:
            assert (await world.call(SEAT, act(1))).text == "at 1"
            with pytest.raises(BadInput, match="does not repeat itself"):
                world.restore(world.snapshot())
    finally:
        del gymnasium.registry["Drifting-v0"]


def test_an_environment_that_is_not_there_or_whose_actions_cannot_be_said_is_refused():
    with pytest.raises(BadInput, match="did you mean FrozenLake"):
        Gym("FrozenLak-v1").open(task, 0)
    with pytest.raises(BadInput, match="cannot be said"):
        Gym("MountainCarContinuous-v0").open(task, 0)
    with pytest.raises(BadInput, match="neither the world nor the task"):
        Gym().open(task, 0)


def test_without_gymnasium_the_cure_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(MissingExtra, match="pip install"):
        LAKE.open(task, 0)


def test_the_plan_comes_back_from_json():
    assert from_json(to_json(LAKE)) == LAKE


# ---------------------------------------------------------------- tasks

SOURCE = GymTasks()
CELLS = [(family, level) for family in SOURCE.families for level in SOURCE.levels(family)]


def played(task: Task, lines: list[Message]) -> float:
    budgets, policies = Budgets(99, 10**6, 10**6), {"agent": Oracle({task.question: tuple(lines)})}
    stage = Stage(ToolLoop(200), Gym(), policies, {"agent": "agent"}, Sampling(64), budgets)
    [judged] = judge_episodes(by_task, play([Attempt(task, 0)], stage))
    return judged.traces[0].score.value


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_the_optimal_solution_reaches_the_goal_and_idleness_does_not(family, level):
    for split in ("train", "test"):
        one = SOURCE.task(family, level, 0, split)
        assert one == SOURCE.task(family, level, 0, split)
        assert played(one, list(one.private.solution)) == 1.0
        assert played(one, [said("assistant", "done")]) == 0.0
        assert played(one, [*one.private.solution[:-2], said("assistant", "done")]) == 0.0


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_no_held_out_map_or_start_is_ever_trained_on(family, level):
    num = {split: min(30, SOURCE.num_tasks(family, level, split) or 30) for split in ("train", "test")}
    train, test = (
        {re.sub(r"\s", "", SOURCE.task(family, level, i, split).question) for i in range(num[split])} for split in num
    )
    assert not train & test


def test_the_shortest_way_over_a_lake_of_four_by_four_has_six_steps():
    # from (0, 0) to (3, 3) are three steps right and three down, and where a solution exists at all the best one
    # on a map this small may need more only when holes force a detour
    ways = [len(SOURCE.task("gym:FrozenLake-v1", 1, i).private.solution) - 1 for i in range(20)]
    assert min(ways) == 6 and all(way % 2 == 0 for way in ways)


def test_value_iteration_by_hand():
    # two states and an end: from 0 one may wait for nothing or go to 1, from 1 one may go back or finish for 1
    first = {0: [(1.0, 0, 0.0, False)], 1: [(1.0, 1, 0.0, False)]}
    table = {0: first, 1: {0: [(1.0, 0, 0.0, False)], 1: [(1.0, 1, 1.0, True)]}}
    assert best_actions(table) == (1, 1)


def test_levels_of_a_table_are_ways_of_growing_length():
    taxi = next(f for f in SOURCE.families if "Taxi" in f)
    lengths = [
        [SOURCE.task(taxi, level, i).private.data["num_steps"] for i in range(10)] for level in SOURCE.levels(taxi)
    ]
    assert max(lengths[0]) <= 9 < min(lengths[1]) and max(lengths[1]) <= 13 < min(lengths[2])
    found = starts_of(taxi.removeprefix("gym:"))
    assert sum(map(len, found.values())) == 300  # 25 places, 4 stands for the passenger, 3 other destinations


def test_falling_into_a_hole_is_not_reaching_the_goal():
    lake = SOURCE.task("gym:FrozenLake-v1", 1, 0)
    fell = {"return": 0.0, "num_steps": 2, "terminated": True, "truncated": False}
    assert reached(lake, "done", fell).value == 0.0
    assert reached(lake, "done", {}).value == 0.0
    assert reached(lake, "", {**fell, "return": 1.0, "num_steps": 12}).components == {"goal": 1.0, "directness": 0.5}


def test_unknown_names_and_levels_are_told():
    with pytest.raises(BadInput, match="no tasks are made of"):
        GymTasks(("CartPole-v1",)).families  # noqa: B018
    with pytest.raises(BadInput, match="no level 9"):
        SOURCE.task("gym:FrozenLake-v1", 9, 0)
    with pytest.raises(BadInput, match="none of these levels"):
        GymTasks(only_levels=(9,)).levels("gym:FrozenLake-v1")
