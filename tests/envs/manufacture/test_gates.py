from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.envs.databases import Column, Database, Operation, Parameter, PythonTool, SqlTool, Statement, Table
from evolvent.envs.manufacture import Case, Parametric, Query, fault_of, gate, manufacture, tool_accuracy
from evolvent.envs.manufacture.cases import agree
from evolvent.envs.manufacture.gates import compile_fault, is_above
from evolvent.envs.manufacture.mutants import MISTAKES, mutate, plant
from evolvent.envs.manufacture.oracle import Refused, work_out, write_cases
from evolvent.envs.manufacture.parametric import SIZES, STRUCTURES

MEMBERS = Table("member", (Column("id"), Column("city")), (("m1", "oslo"), ("m2", "rome")))
LOANS = Table(
    "loan",
    (Column("id"), Column("member", "text", "member"), Column("fee", "integer")),
    (("k1", "m1", 3), ("k2", "m1", 5), ("k7", "m1", 4)),
)
FEE = SqlTool("fee", "the fee", (Parameter("id"),), (Statement('SELECT fee FROM loan WHERE "id" = :id', "no loan"),),
              "value", Operation("get", "loan", ("id",), ("fee",)))  # fmt: skip
WORLD = Database("lending", (MEMBERS, LOANS), (FEE,))
RIGHT = Case("fee", {"id": "k1"}, 3)
WRONG = Case("fee", {"id": "k1"}, 4)


def test_a_tool_of_exactly_one_half_is_rejected():
    assert tool_accuracy(WORLD, "fee", [RIGHT, WRONG]) == 0.5
    assert gate(WORLD, [RIGHT, WRONG]).kept is None
    assert gate(WORLD, [RIGHT, RIGHT, WRONG]).kept == WORLD
    assert gate(WORLD, [RIGHT, WRONG, WRONG, RIGHT]).dropped[0].accuracy == 0.5
    assert [is_above(k, 4) for k in range(5)] == [False, False, False, True, True]
    assert not is_above(0, 0)


def test_a_tool_without_a_test_does_not_stay_and_a_world_without_a_tool_neither():
    two = replace(WORLD, tools=(FEE, replace(FEE, name="other")))
    found = gate(two, [RIGHT])
    assert found.kept == WORLD
    assert found.reasons == {"no test": 1}
    assert gate(WORLD, []).kept is None


def test_what_is_wrong_is_said():
    assert fault_of(WORLD, RIGHT) == ""
    assert fault_of(WORLD, WRONG) == "gave 3 instead of 4"
    assert fault_of(WORLD, Case("fee", {"id": "k1"}, refuses=True)) == "gave 3 instead of refusing"
    assert fault_of(WORLD, Case("fee", {"id": "k9"}, 3)) == "refused: no loan"
    assert fault_of(WORLD, Case("fee", {}, 3)).startswith("refused: ")
    left = Case("fee", {"id": "k1"}, 3, leaves=(Query("SELECT fee FROM loan", ((3,), (5,))),))
    assert fault_of(WORLD, left) == "left [[3], [5], [4]] instead of [[3], [5]] for SELECT fee FROM loan"
    odd = Case("fee", {"id": "k1"}, 3, leaves=(Query("DROP TABLE loan", ()),))
    assert fault_of(WORLD, odd).startswith("a query cannot be asked")


def test_lists_agree_in_any_order_and_rows_only_in_their_own():
    assert agree([1, 2.0, {"a": [3, 1]}], [{"a": [1, 3]}, 2, 1.0000000001])
    assert not agree([1, 1, 2], [1, 2, 2])
    assert agree([(1, "a"), (2, "b")], [(2, "b"), (1, "a")])
    assert not agree([(1, 2)], [(2, 1)])
    assert not agree(True, 1)
    assert not agree({"a": 1}, {"a": 1, "b": None})
    assert not agree("1", 1)


def lists_and_objects(inner):
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(PLAIN, lists_and_objects, max_leaves=10)


@settings(max_examples=40, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_a_value_agrees_with_itself_however_its_lists_lie(value, rng):
    def shuffled(one):
        if isinstance(one, list):
            return rng.sample([shuffled(v) for v in one], len(one))
        return {k: shuffled(v) for k, v in one.items()} if isinstance(one, dict) else one

    assert agree(shuffled(value), value)


# ------------------------------------------------------------ the oracle


def test_the_oracle_works_out_by_hand_what_operations_do():
    """The rows are k1, k2, k7 with fees 3, 5, 4, all of m1; m1 cannot go, a new loan is k8 and costs 3."""
    get = Operation("get", "loan", ("id",), ("fee",))
    assert work_out(WORLD, get, {"id": "k7"})[0] == {"fee": 4}
    find = Operation("find", "loan", ("member",), ("id",))
    assert work_out(WORLD, find, {"member": "m1"})[0] == [{"id": "k1"}, {"id": "k2"}, {"id": "k7"}]
    assert work_out(WORLD, Operation("count", "loan", ("member",)), {"member": "m2"})[0] == 0
    create = Operation("create", "loan", ("member",), ("id",), ("member", "fee"))
    made, left = work_out(WORLD, create, {"member": "m2"})
    assert made == {"id": "k8"}
    assert left["loan"][-1] == ("k8", "m2", 3)
    update = Operation("update", "member", ("id", "city"), (), ("city",))
    assert work_out(WORLD, update, {"id": "m2", "city": "lima"})[1]["member"] == (("m1", "oslo"), ("m2", "lima"))
    assert work_out(WORLD, Operation("delete", "member", ("id",)), {"id": "m2"})[1]["member"] == (("m1", "oslo"),)
    for does, arguments in (
        (get, {"id": "k9"}),
        (create, {"member": "m9"}),
        (update, {"id": "m9", "city": "x"}),
        (Operation("delete", "member", ("id",)), {"id": "m1"}),
    ):
        with pytest.raises(Refused):
            work_out(WORLD, does, arguments)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from(STRUCTURES), st.sampled_from([1, 2]))
def test_every_parametric_tool_passes_all_tests_of_the_oracle(seed, structure, level):
    world = manufacture(seed, structure, level)
    found = gate(world, write_cases(world, seed))
    assert found.kept == world, found.dropped
    assert set(found.accuracies.values()) == {1.0}


def test_the_largest_worlds_pass_the_oracle_too():
    world = manufacture(4, "aggregate", max(SIZES))
    assert gate(world, write_cases(world, 0, num=2)).kept == world


# ------------------------------------------------------------ mistakes that are planted


def test_about_three_tools_of_ten_are_made_wrong_and_the_same_again():
    num_wrong = num_tools = 0
    for seed in range(30):
        world = manufacture(seed, STRUCTURES[seed % 8], 2)
        planted = plant(world, seed)
        assert planted == plant(world, seed)
        num_wrong, num_tools = num_wrong + len(planted.mistakes), num_tools + len(world.tools)
        for tool in world.tools:
            assert (planted.database.tool(tool.name) != tool) == (tool.name in planted.mistakes)
    assert 0.2 < num_wrong / num_tools < 0.4
    assert plant(world, 0, share=0.0).mistakes == {}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_an_sql_tool_is_found_by_the_oracle(mistake):
    num_found = num_tried = 0
    for seed in range(12):
        world = manufacture(seed, STRUCTURES[seed % 8], 2)
        cases = write_cases(world, seed)
        for tool in world.tools:
            made = mutate(world, tool, mistake)
            if made is not None:
                wrong = replace(world, tools=tuple(made if t is tool else t for t in world.tools))
                num_tried += 1
                num_found += tool_accuracy(wrong, tool.name, cases) <= 0.5
    assert num_tried >= 10
    assert num_found / num_tried > 0.9


def test_only_tools_that_write_can_forget_to():
    assert mutate(WORLD, FEE, "write not kept") is None
    reading = PythonTool("f", "", (), "def f(db):\n    return 1\n")
    assert mutate(WORLD, reading, "write not kept") is None


PYTHON = PythonTool("raise_fee", "", (Parameter("id"), Parameter("by", "integer")), '''
def raise_fee(db, id, by):
    db.execute("UPDATE loan SET fee = fee + ? WHERE id = ?", (by, id))
    return db.execute("SELECT fee FROM loan WHERE id = ?", (id,)).fetchone()[0]
''')  # fmt: skip


@pytest.mark.parametrize(("mistake", "fault"), [
    ("off by one", "gave 8 instead of 7"),
    ("argument ignored", "gave 5 instead of 7"),
    ("write not kept", "left [[5]] instead of [[7]] for SELECT fee FROM loan WHERE id = 'k2'"),
])  # fmt: skip
def test_a_mistake_in_a_python_tool_shows(mistake, fault):
    case = Case("raise_fee", {"id": "k2", "by": 2}, 7, leaves=(Query("SELECT fee FROM loan WHERE id = 'k2'", ((7,),)),))
    world = replace(WORLD, tools=(PYTHON,))
    assert fault_of(world, case) == ""
    made = mutate(world, PYTHON, mistake)
    assert compile_fault(made) == ""
    assert fault_of(replace(world, tools=(made,)), case) == fault


@pytest.mark.parametrize(("source", "words"), [
    ("def f(db, a)\n  return 1", "does not compile"),
    ("def g(db, a):\n  return 1", "no function f"),
    ("f = lambda db, a: 1", "no function f"),
    ("def f(a):\n  return 1", "takes (a), wanted (db, a)"),
    ("def f(db, a, b):\n  return 1", "takes (db, a, b), wanted (db, a)"),
    ("def f(db, a):\n  return '\x00'", "does not compile"),
])  # fmt: skip
def test_a_tool_that_cannot_be_one_is_dropped_without_being_run(source, words):
    tool = PythonTool("f", "", (Parameter("a"),), source)
    found = gate(replace(WORLD, tools=(tool,)), [Case("f", {"a": "x"}, 1)])
    assert found.kept is None
    assert words in found.dropped[0].why
    assert found.dropped[0].accuracy is None


def test_a_parametric_maker_drops_the_tools_that_are_planted_wrong():
    honest, planted = Parametric(3, level=2), Parametric(3, level=2, mutant_frac=0.5)
    for number in range(4):
        whole, cut = honest.make(number), planted.make(number)
        assert whole.database is not None
        assert cut.database is not None
        assert cut.funnel["tools written"] == whole.funnel["tools written"] == len(whole.database.tools)
        assert cut.funnel["tools kept"] == len(cut.database.tools)
        assert set(cut.database.tools) < set(whole.database.tools)
        assert {case.tool for case in cut.cases} == {tool.name for tool in cut.database.tools}
        assert honest.make(number) == whole
