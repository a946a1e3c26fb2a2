import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent import BadInput
from evolvent.envs.databases import OpenDatabase
from evolvent.envs.manufacture.lexicon import NUMBERS, RELATIONS, TEXTS
from evolvent.envs.manufacture.parametric import NEEDS, SIZES, STRUCTURES, manufacture

WORLDS = st.tuples(st.integers(0, 2**50), st.sampled_from(STRUCTURES), st.sampled_from(list(SIZES)))


@settings(max_examples=60, deadline=None)
@given(WORLDS)
def test_a_world_can_be_built_and_has_the_size_of_its_level(drawn):
    world, size = manufacture(*drawn), SIZES[drawn[2]]
    assert len(world.image) > 0
    assert len(world.tables) == size.num_tables
    assert [len(table.rows) for table in world.tables][:2] == [size.num_rows, size.num_rows // 2]
    assert 2 <= len(world.tables) <= 6


@settings(max_examples=60, deadline=None)
@given(WORLDS)
def test_a_world_has_every_tool_that_its_tasks_need(drawn):
    world = manufacture(*drawn)
    tables = {"many": world.tables[0].name, "one": world.tables[1].name}
    offered = {(tool.operation.kind, tool.operation.table) for tool in world.tools}
    for need in NEEDS[drawn[1]]:
        kind, which = need.split()
        assert (kind, tables[which]) in offered


@settings(max_examples=60, deadline=None)
@given(WORLDS)
def test_links_lead_to_rows_that_exist(drawn):
    world = manufacture(*drawn)
    for table in world.tables:
        for i, column in enumerate(table.columns):
            if column.references:
                keys = {row[0] for row in world.table(column.references).rows}
                assert {row[i] for row in table.rows} <= keys


@settings(max_examples=40, deadline=None)
@given(WORLDS)
def test_no_name_of_a_world_is_a_plain_word(drawn):
    world = manufacture(*drawn)
    plain = {word for pair in RELATIONS for word in pair} | set(TEXTS) | set(NUMBERS)
    names = {t.name for t in world.tools} | {t.name for t in world.tables}
    names |= {c.name for table in world.tables for c in table.columns}
    assert not names & plain


def test_two_worlds_of_a_class_teach_each_other_no_name():
    worlds = [manufacture(seed, "two_hop", 1) for seed in range(40)]
    names = [tool.name for world in worlds for tool in world.tools]
    assert len(set(names)) > 0.25 * len(names)
    orders = {
        tuple(c.name in ("id", "key", "ref", "code", "num", "tag") for c in tool.parameters)
        for seed in range(40)
        for tool in manufacture(seed, "conditional_update", 1).tools
        if tool.operation.kind == "update"
    }
    assert orders == {(True, False), (False, True)}, "the order of arguments is drawn"


def test_a_world_depends_on_its_seed_alone():
    assert manufacture(7, "aggregate", 2) == manufacture(7, "aggregate", 2)
    assert manufacture(7, "aggregate", 2) != manufacture(8, "aggregate", 2)


def test_a_created_row_is_found_again_with_what_the_house_put_in():
    world = manufacture(3, "create_read", 1)
    table = world.tables[0]
    create = next(t for t in world.tools if t.operation.kind == "create" and t.operation.table == table.name)
    get = next(t for t in world.tools if t.operation.kind == "get" and t.operation.table == table.name)
    columns = [c.name for c in table.columns]
    arguments = {name: table.rows[0][columns.index(name)] for name in create.operation.given}
    live = OpenDatabase(world)
    key = live.run(create.name, arguments)[table.key]
    assert key not in {row[0] for row in table.rows}
    found = live.run(get.name, {table.key: key})
    assert {name: found[name] for name in arguments} == arguments
    numbers = [c.name for c in table.columns if c.kind == "integer"]
    assert numbers and all(found[n] == min(row[columns.index(n)] for row in table.rows) for n in numbers)


def test_large_worlds_hold_rows_as_real_ones_do():
    pytest.importorskip("faker")
    words = {
        value for seed in range(4) for t in manufacture(seed, "lookup", 4).tables for r in t.rows for value in r[1:]
    }
    assert any(isinstance(word, str) and " " in word for word in words), "names of two words"


def test_a_structure_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match="two_hop"):
        manufacture(0, "three_hop", 1)


@settings(max_examples=40, deadline=None)
@given(WORLDS, st.integers(1, 2**20))
def test_a_skin_changes_what_things_are_called_and_nothing_else(drawn, skin):
    plain, dressed = manufacture(*drawn), manufacture(*drawn, skin)
    assert [t.name for t in plain.tables] != [t.name for t in dressed.tables]
    assert sorted(t.description for t in plain.tools) == sorted(t.description for t in dressed.tools)
    for one, other in zip(plain.tables, dressed.tables, strict=True):
        assert [plain.word(one.name, c.name) for c in one.columns] == [
            dressed.word(other.name, c.name) for c in other.columns
        ]
        assert [[str(v)[1:] if column.name == one.key or column.references else v
                 for column, v in zip(one.columns, row, strict=True)] for row in one.rows] == [
            [str(v)[1:] if column.name == other.key or column.references else v
             for column, v in zip(other.columns, row, strict=True)] for row in other.rows
        ]  # fmt: skip
