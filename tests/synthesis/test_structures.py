import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent import BadInput
from evolvent.envs.databases import OpenDatabase, world_of
from evolvent.envs.manufacture.parametric import SIZES, STRUCTURES, manufacture
from evolvent.seeds import stream
from evolvent.synthesis.structures import PROGRAMS, pose
from evolvent.synthesis.world_tasks import WorldTasks

DRAWN = st.tuples(st.integers(0, 2**50), st.sampled_from(STRUCTURES), st.sampled_from(list(SIZES)))


def made(drawn):
    seed, structure, level = drawn
    world = manufacture(seed, structure, level)
    return world, pose(world, structure, stream(seed, "exercise"))


def test_every_structure_has_a_program():
    assert set(PROGRAMS) == set(STRUCTURES)


@settings(max_examples=100, deadline=None)
@given(DRAWN)
def test_no_question_holds_a_name_of_a_tool_a_table_or_a_column(drawn):
    world, exercise = made(drawn)
    words = set(re.findall(r"\w+", re.sub(r'"[^"]*"', "", exercise.question)))
    names = {t.name for t in world.tools} | {t.name for t in world.tables}
    names |= {c.name for table in world.tables for c in table.columns}
    assert not words & names


@settings(max_examples=60, deadline=None)
@given(DRAWN)
def test_the_solution_replayed_in_a_clean_copy_sees_and_leaves_the_same(drawn):
    world, exercise = made(drawn)
    live = OpenDatabase(world)
    seen = [
        json.dumps(live.run(call.name, call.arguments), ensure_ascii=False)
        for message in exercise.solution
        for call in message.calls
    ]
    assert tuple(seen) == exercise.observations
    assert live.state_digest() == exercise.state
    assert exercise.solution[-1].text == exercise.answer


def cell(world, table, key, column):
    row = next(r for r in table.rows if r[0] == key)
    return row[[c.name for c in table.columns].index(column)]


def column_of(world, table, word):
    return next(c.name for c in table.columns if world.word(table.name, c.name) == word)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**50), st.sampled_from(list(SIZES)))
def test_the_answer_of_two_hops_is_what_the_rows_say(seed, level):
    world, exercise = made((seed, "two_hop", level))
    many, one = world.tables[:2]
    asked = re.fullmatch(r'tell (\w+) of \w+ of \w+ "(\w+)"', exercise.question)
    link = next(c.name for c in many.columns if c.references == one.name)
    parent = cell(world, many, asked[2], link)
    assert exercise.answer == str(cell(world, one, parent, column_of(world, one, asked[1])))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**50), st.sampled_from(list(SIZES)))
def test_the_answer_of_an_aggregate_is_what_the_rows_say(seed, level):
    world, exercise = made((seed, "aggregate", level))
    many, one = world.tables[:2]
    asked = re.fullmatch(r'tell highest (\w+) of \w+ of \w+ "(\w+)"', exercise.question)
    link = [c.references for c in many.columns].index(one.name)
    number = [c.name for c in many.columns].index(column_of(world, many, asked[1]))
    assert exercise.answer == str(max(row[number] for row in many.rows if row[link] == asked[2]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**50))
def test_a_condition_decides_what_is_written(seed):
    world, exercise = made((seed, "conditional_update", 1))
    many = world.tables[0]
    asked = re.fullmatch(r'if (\w+) of \w+ "(\w+)" is above (\d+) set \w+ "(\w+)" else "(\w+)"', exercise.question)
    number = cell(world, many, asked[2], column_of(world, many, asked[1]))
    assert exercise.answer == (asked[4] if number > int(asked[3]) else asked[5])


def test_both_branches_of_a_guarded_deletion_occur():
    answers = [made((seed, "guarded_delete", 1))[1].answer for seed in range(200)]
    assert set(answers) == {"gone", "kept"}
    assert 0.4 < answers.count("gone") / 200 < 0.75, "who always says the same is right about half of the time"


def test_an_edited_row_changes_the_answer():
    from dataclasses import replace

    world, exercise = made((5, "lookup", 1))
    table = world.tables[0]
    key = re.search(r'"(\w+)"', exercise.question)[1]
    rows = tuple((r[0], *(v if isinstance(v, str) and v[1:].isdigit() else (v + "x" if isinstance(v, str) else v + 1)
                          for v in r[1:])) if r[0] == key else r for r in table.rows)  # fmt: skip
    edited = replace(world, tables=(replace(table, rows=rows), *world.tables[1:]))
    assert pose(edited, "lookup", stream(5, "exercise")).answer != exercise.answer


def test_splits_share_no_world():
    source = WorldTasks(num_worlds=8)
    seeds = {
        split: {source.world(f, 1, i, split) for f in source.families for i in range(200)}
        for split in ("train", "test", "arena")
    }
    assert not seeds["train"] & seeds["test"]
    assert not seeds["train"] & seeds["arena"]
    assert not seeds["test"] & seeds["arena"]
    assert len(seeds["train"]) == 8 * len(source.families)
    assert len(seeds["test"]) == 200 * len(source.families)


def test_the_same_question_in_two_worlds_is_two_problems():
    source = WorldTasks()
    found = {}
    for index in range(4000):
        task = source.task("lookup", 1, index, "test")
        other = found.setdefault(task.question, task)
        if other is not task and world_of(other) != world_of(task):
            assert other.problem != task.problem
            return
    raise AssertionError("no question came twice")


def test_a_task_is_a_function_of_its_place():
    assert WorldTasks().task("count", 1, 3) == WorldTasks().task("count", 1, 3)
    assert WorldTasks(seed=1).task("count", 1, 3) != WorldTasks().task("count", 1, 3)


def test_a_structure_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match="did you mean"):
        WorldTasks(structures=("two_hops",))


def test_a_training_world_appears_under_many_names():
    source = WorldTasks(num_worlds=1)
    worlds = [world_of(source.task("two_hop", 1, index)) for index in range(20)]
    assert len({world.tools[0].name for world in worlds}) > 5
    assert len({tuple(sorted(t.description for t in world.tools)) for world in worlds}) == 1
    kept = WorldTasks(num_worlds=1, num_skins=1)
    assert len({kept.task("two_hop", 1, index).private.data["world"]["arguments"]["skin"] for index in range(9)}) == 1
