from dataclasses import replace

import pytest

import exam
from evolvent.cli.effect import _path, effect_of, read_asked
from evolvent.cli.main import Command
from evolvent.codec import from_json, to_json
from evolvent.credit.batch import assign
from evolvent.effects import Arm
from evolvent.effects.session import Session, session
from evolvent.evals.arena import Rounds
from evolvent.evals.contrast import Spent
from evolvent.evals.diagnosis import Diagnosis, Guideline, Standing, Weak, by_statistics, world_name
from evolvent.policies.scripted import Oracle
from evolvent.recipes import agent_world
from evolvent.records import Cell, Estimate, Outcome, Report, Sampling
from evolvent.rewards import by_task, judge_episodes
from evolvent.rollouts.play import Attempt, Pace, Stage, play

PLAN = agent_world.build()
HALF = Estimate(0.5, 0.4, 0.6, 10)


def test_there_are_two_rounds_and_practice_behind_each():
    assert PLAN.arena.num_rounds(PLAN.num_steps) == agent_world.NUM_ROUNDS == 2


def test_the_worlds_of_training_measurement_and_arena_are_apart():
    source = PLAN.source
    trained = {world_name(source.task(f, 1, i)) for f in source.families for i in range(2 * agent_world.NUM_WORLDS)}
    measured = {world_name(source.task(f, 1, i, "test")) for f in source.families for i in range(64)}
    rounds = Rounds(PLAN.arena, source, PLAN.num_steps, seed=0)
    assert len(trained) == agent_world.NUM_WORLDS * len(source.families)
    assert not trained & rounds.worlds
    assert not trained & measured
    assert not measured & rounds.worlds


def test_each_number_of_training_worlds_is_measured_on_the_same_worlds():
    few, many = (agent_world.worlds_of(3, num) for num in (1, 64))
    assert [few.task("count", 1, i, "test") for i in range(8)] == [many.task("count", 1, i, "test") for i in range(8)]
    assert len({world_name(few.task("count", 1, i)) for i in range(32)}) == 1


def test_a_neglected_class_is_shown_once_where_each_other_is_shown_often():
    plan = agent_world.neglecting(PLAN, "count")
    cells = plan.cold_start.curriculum.begin(plan.source).open_cells()
    assert cells.count(("count", 1)) == 1
    assert {cells.count((f, 1)) for f in PLAN.source.families if f != "count"} == {agent_world.NEGLECT}
    assert from_json(to_json(plan)) == plan


def test_what_tools_say_is_masked_and_what_the_agent_wrote_is_not(tmp_path):
    run, _ = exam.carry_out(exam.small("agent_world"), tmp_path / "run")
    recited = [e for e in run.episodes() if e.task.split == "train" and e.traces[0].calls]
    assert recited
    for trace in (t for e in recited for t in e.traces):
        for turn in trace.turns:
            assert set(turn.mask) <= {turn.message.role == "assistant"}, turn.message.role
    batch = assign(recited, "agent", PLAN.cold_start.advantage)
    written = sum(sum(turn.mask) for e in recited for t in e.traces for turn in t.turns)
    assert sum(row.mask.sum() if hasattr(row.mask, "sum") else sum(row.mask) for row in batch.rows) == written


def test_the_oracle_solves_every_round():
    rounds = Rounds(PLAN.arena, PLAN.source, PLAN.num_steps, seed=0)
    distinct = list({task.question: task for task in rounds.tasks[0]}.values())
    pace = Pace()
    stage = Stage(
        PLAN.workflow,
        PLAN.world,
        {"agent": Oracle.of(distinct)},
        {"agent": "agent"},
        Sampling(PLAN.budgets.turn_tokens, seed=1),
        PLAN.budgets,
        pace=pace,
    )
    episodes = judged(play([Attempt(t, 0) for t in distinct], stage))
    assert all(e.traces[0].score.value == 1.0 for e in episodes)
    assert by_statistics(episodes).weak == ()
    assert pace.episodes == len(distinct)
    assert pace.tool_calls == sum(len(t.calls) for e in episodes for t in e.traces) > len(distinct)
    assert 0 < pace.idle_share < 1


def judged(episodes):
    found = judge_episodes(by_task, episodes)
    assert all(e.outcome is Outcome.OK for e in found)
    return found


# ---------------------------------------------------------------- the experiments


def an_arm(scores, weak=()):
    """An arm of two classes with these scores on its held-out tasks."""
    cells = tuple(
        Cell(family, 1, tuple(f"{family}-{i}" for i in range(len(v))), tuple(v), *([tuple(v)] * 4))
        for family, v in scores.items()
    )
    classes = tuple(Standing(f, "", HALF, 10, 5, {}) for f in scores)
    found = replace(Diagnosis(1, 15, classes, (), ()), weak=tuple(a_weak(f) for f in weak))
    return Arm(PLAN, {"after": Report(1, "after", cells, {})}, (), {}, Spent(updates=45), (found,))


def a_weak(family):
    return Weak(family, 1, HALF, (Guideline("", "wrong tool use", "more"),))


@pytest.mark.parametrize(("weak", "wanted"), [(("b",), 1.0), ((), 0.0)])
def test_arms_are_compared_on_the_classes_that_the_first_round_named(weak, wanted):
    treated = an_arm({"a": [0.0] * 256, "b": [1.0] * 256}, weak)
    control = an_arm({"a": [0.0] * 256, "b": [0.0] * 256}, weak)
    found = agent_world.on_diagnosed("claim", treated, control)
    assert len(found.treated) == 256
    assert set(found.treated) == {wanted}, "with no weak class the lowest one stands for it"


def asked_for(name, **fields):
    modes = {"json": False, "seed": None, "resume": None, "dry_run": False, "all": False, "port": 0}
    return read_asked(Command("effect", (name,), fields, **modes))


def test_both_experiments_can_be_asked_for_by_name():
    assert effect_of("agent_world") is agent_world.effect
    name = "evolvent.recipes.agent_world:more_worlds"
    assert effect_of(name) is agent_world.more_worlds
    assert asked_for(name).names == (name,)


def test_a_second_experiment_of_a_recipe_does_not_take_the_results_of_the_first(tmp_path):
    asked = asked_for("agent_world", cache=str(tmp_path))
    names = ("agent_world", "evolvent.recipes.agent_world:effect", "evolvent.recipes.agent_world:more_worlds")
    first, same, other = (_path(asked, name, 0) for name in names)
    assert first == same != other


@pytest.mark.slow
def test_the_experiment_runs_at_its_smallest(tmp_path, monkeypatch):
    small = exam.small("agent_world")
    monkeypatch.setattr(agent_world, "build", lambda: replace(small, reward=PLAN.reward, truth=None))
    monkeypatch.setattr(agent_world, "NUM_CHECKS", 2)
    with session(Session(cache=tmp_path)):
        found = agent_world.effect(0)
    assert [len(one.treated) for one in found] == [256 * len(agent_world.CLASSES), 256, 2]
