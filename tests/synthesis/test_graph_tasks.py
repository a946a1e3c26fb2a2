import asyncio
import json
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.envs.databases import Databases, world_of
from evolvent.envs.manufacture.parametric import STRUCTURES
from evolvent.envs.sandbox.choose import best
from evolvent.errors import EvolventError
from evolvent.policies.scripted import Fixed, Oracle
from evolvent.records import Reference, Sampling
from evolvent.rewards import by_task
from evolvent.rewards.rubric import all_pass, passing
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import ToolLoop
from evolvent.seeds import stream
from evolvent.synthesis.chains import execute, replay, too_poor
from evolvent.synthesis.difficulty import LEVELS, Difficulty
from evolvent.synthesis.graph_tasks import GraphTasks, regenerate, write_graph_tasks
from evolvent.synthesis.graph_words import draft, names_in
from evolvent.synthesis.steps import Chain, Source, Step, is_refused, leaves, stable
from evolvent.synthesis.tool_analysis import analyse
from evolvent.synthesis.tool_graph import graph_of, paper_form
from synthesis.made_worlds import HERE, Scribe, TimedLibrary, library, python_library


def sandbox_works():
    try:
        return bool(best())
    except EvolventError:
        return False


needs_sandbox = pytest.mark.skipif(not sandbox_works(), reason="no sandbox works here (see evolvent doctor)")
LIBRARY = Reference(f"{HERE}:library")
MAKER = "evolvent.envs.manufacture.parametric:manufacture"


def stage(policy):
    budgets, how = Budgets(512, 8192, 4096), Sampling(512)
    return Stage(ToolLoop(24), Databases(), {"agent": policy}, {"agent": "agent"}, how, budgets)


def run(database, tools, seed=0):
    return asyncio.run(execute(database, graph_of(database), tools, stream(seed, "try")))


@cache
def written():
    tasks = [t for i in range(6) for t in write_graph_tasks(LIBRARY, GraphTasks(seed=i)).tasks]
    assert len(tasks) >= 18
    return tasks


def test_the_oracle_s_chain_earns_all_and_an_empty_answer_nothing():
    tasks = written()
    played = play([Attempt(t, 0) for t in tasks], stage(Oracle.of(tasks)))
    assert [s.value for s in by_task(played)] == [1.0] * len(tasks)
    assert [passing(e.task, e.answer, e.info).value for e in played] == [1.0] * len(tasks)
    empty = play([Attempt(t, 0) for t in tasks], stage(Fixed("")))
    assert {all_pass(e.task, e.answer, e.info).value for e in empty} == {s.value for s in by_task(empty)} == {0.0}


def test_the_right_answer_without_its_writes_does_not_pass():
    writing = [t for t in written() if from_json(t.private.data["chain"]).is_changed]
    assert writing, "no chain writes"
    played = [play([Attempt(t, 0)], stage(Fixed(t.private.answer)))[0] for t in writing]
    assert {passing(e.task, e.answer, e.info).value for e in played} == {0.0}


def test_two_rollouts_at_once_do_not_see_each_other_and_leave_the_world_as_it_was():
    tasks = [t for t in written() if from_json(t.private.data["chain"]).is_changed][:3]
    before = world_of(tasks[0]).image
    played = play([Attempt(t, sample) for sample in range(4) for t in tasks], stage(Oracle.of(tasks)))
    assert all(s.value == 1.0 for s in by_task(played)), "one saw what another wrote"
    assert world_of(tasks[0]).image == before == library().image


def test_chains_have_three_steps_and_tools_and_no_two_are_alike():
    for world in range(4):
        found = write_graph_tasks(Reference(MAKER, {"seed": world, "structure": "aggregate", "level": 2}))
        chains = [from_json(t.private.data["chain"]) for t in found.tasks]
        assert len(chains) <= 4 and len({c.key for c in chains}) == len(chains)
        for chain in chains:
            assert len(chain.steps) >= 3 and len({s.tool for s in chain.steps}) >= 3
            assert not any(is_refused(s.observation) for s in chain.steps)
            calls = [(s.tool, json.dumps(s.arguments)) for s in chain.steps]
            assert len(set(calls)) == len(calls), "a call was repeated"


def test_tasks_go_through_json_and_are_judged_there_as_here():
    for task in written()[:3]:
        again = from_json(to_json(task))
        assert again == task
        (played,) = play([Attempt(again, 0)], stage(Oracle.of([again])))
        assert by_task([played])[0].value == 1


def test_an_edited_row_that_a_chain_reads_changes_the_regenerated_answer():
    moved = [(t, regenerate(library(author_city="quito"), t)) for t in written()]
    assert all(regenerate(library(), t) == json.loads(t.private.answer) for t in written())
    asking = [(t, made) for t, made in moved if "author city" in json.loads(t.private.answer)]
    assert asking, "no question asks where an author lives"
    for task, made in asking:
        assert made["author city"] == "quito" != json.loads(task.private.answer)["author city"]


def test_a_clock_vanishes_from_what_is_kept():
    one = library()
    timed = TimedLibrary(one.name, one.tables, one.tools, words=one.words)
    chain = run(timed, ["qb", "qa", "ql"])
    assert all("asked_at" in s.observation for s in chain.steps), "the clock was never there"
    kept = asyncio.run(replay(timed, chain))
    assert isinstance(kept, Chain)
    assert [sorted(s.observation) for s in kept.steps] == [["by", "pages", "state"], ["born", "city"], ["days", "what"]]


@needs_sandbox
def test_a_clock_in_a_python_tool_vanishes_too():
    said_of = [
        {"tool": "get_book", "operation": "query", "inputs": ["id"], "outputs": ["by", "pages", "state"]},
        {"tool": "set_state", "operation": "mutation", "inputs": ["id", "state"], "outputs": ["ok"]},
    ]
    graph = asyncio.run(analyse(python_library(), Scribe(lambda text: json.dumps(said_of))))
    chain = asyncio.run(execute(python_library(), graph, ["get_book", "get_author", "set_state"], stream(1, "try")))
    assert [s.tool for s in chain.steps] == ["get_book", "get_author", "set_state"] and chain.is_changed
    assert "asked_at" in chain.steps[1].observation
    kept = asyncio.run(replay(python_library(), chain))
    assert isinstance(kept, Chain) and sorted(kept.steps[1].observation) == ["born", "city"]


def test_a_replay_that_fails_or_changes_too_much_is_refused():
    chain = run(library(), ["ql", "qb", "qa"])
    gone = replace(chain, steps=(replace(chain.steps[0], arguments={"id": "l99"}), *chain.steps[1:]))
    assert asyncio.run(replay(library(), gone)) == "a step fails when played again"
    other = [replace(s, observation=dict.fromkeys(s.observation, "?")) for s in chain.steps[1:]]
    few = replace(chain, steps=(chain.steps[0], *other))
    assert "too few values" in asyncio.run(replay(library(), few)), "2 of 7 leaves are less than 60 %"
    writing = run(library(), ["qb", "ub"])
    assert "another state" in asyncio.run(replay(library(), replace(writing, state="x")))


def test_sixty_percent_of_the_leaves_are_enough():
    seen = run(library(), ["qb", "qa"])
    two_off = replace(seen.steps[1], observation={"city": "?", "born": "?"})
    assert isinstance(asyncio.run(replay(library(), replace(seen, steps=(seen.steps[0], two_off)))), Chain), "3 of 5"


def test_stable_keeps_what_agrees():
    one = {"a": 1, "b": {"c": 2, "t": 5}, "l": [{"x": 1, "t": 1}], "m": [1], "n": None}
    other = {"a": 1, "b": {"c": 2, "t": 6}, "l": [{"x": 1, "t": 2}], "m": [1, 2], "n": None, "new": 1}
    assert stable(one, other) == {"a": 1, "b": {"c": 2}, "l": [{"x": 1}], "n": None}
    assert stable(1, True) is None and stable("x", "x") == "x"
    assert [path for path, _ in leaves(one)] == [("a",), ("b", "c"), ("b", "t"), ("l", 0, "x"), ("l", 0, "t"), ("m", 0)]


@pytest.mark.parametrize(
    "refusal",
    [{"error": "x"}, {"ok": False}, {"success": False, "id": 1}, {"status": "error"}, {"message": "Book not found"},
     "no such book", "Invalid id", [], {}, "", None],
)  # fmt: skip
def test_refusals_and_empty_replies_are_recognised(refusal):
    assert is_refused(refusal)


@pytest.mark.parametrize(
    "fine", [{"error": None, "id": 1}, {"ok": True}, "done", 0, [0], {"title": "Not found wanting"}]
)
def test_what_is_no_refusal_is_kept(fine):
    assert not is_refused(fine)


def test_arguments_come_from_the_newest_observation_then_from_one_record():
    chain = run(library(), ["ql", "qb", "qa", "fb"])
    loan, book, author, found = chain.steps
    assert loan.sources["id"].how == "record", "nothing was seen yet"
    assert book.sources["id"] == Source(0, ("what",)) and book.arguments["id"] == loan.observation["what"]
    assert author.sources["id"] == Source(1, ("by",))
    assert found.arguments["by"] == book.observation["by"]
    for seed in range(20):
        lent = run(library(), ["nb", "cl"], seed).steps[1].arguments
        pairs = {(what, days) for _, what, days in library().tables[2].rows}
        assert (lent["what"], lent["days"]) in pairs, "two arguments of two records"


def test_nothing_is_invented_where_no_argument_can_be_found():
    one = library()
    empty = replace(one, tables=tuple(replace(t, rows=()) for t in one.tables))
    assert run(empty, ["qb", "qa"]).steps == ()
    assert too_poor(run(empty, ["qb"])) == "too few steps ran"
    assert too_poor(Chain((Step("a", {}, 1),) * 3, "", False)) == "too few tools"


def test_the_funnel_adds_up_over_worlds():
    found = [write_graph_tasks(Reference(MAKER, {"seed": s, "structure": "count", "level": 1})) for s in range(3)]
    total = found[0] + found[1] + found[2]
    assert total.funnel["worlds"] == 3 and total.funnel["tasks"] == len(total.tasks)
    kept = total.funnel["chains kept"]
    walks = ("too few steps ran", "too few tools", "known chain", "a step fails when played again")
    assert (
        total.funnel["walks"]
        == kept
        + sum(total.funnel[w] for w in walks)
        + total.funnel["too few values are the same when played again"]
        + total.funnel["left in another state when played again"]
    ), total.funnel
    assert all(line.split()[0].isdecimal() for line in total.funnel.lines())


def test_tasks_are_pure_in_seed_and_world_and_their_questions_differ():
    one, again = (write_graph_tasks(LIBRARY, GraphTasks(seed=3)) for _ in range(2))
    assert one == again
    assert one.tasks != write_graph_tasks(LIBRARY, GraphTasks(seed=4)).tasks
    questions = [t.question for t in written()]
    assert len(set(questions)) > 0.8 * len(questions)


def test_harder_walks_make_longer_chains():
    def mean_calls(how):
        steps = [len(from_json(t.private.data["chain"]).steps) for s in range(5) for t in
                 write_graph_tasks(LIBRARY, replace(how, seed=s)).tasks]  # fmt: skip
        return sum(steps) / len(steps)

    assert mean_calls(GraphTasks(difficulty=LEVELS[3])) > mean_calls(GraphTasks()) + 1
    assert write_graph_tasks(LIBRARY, GraphTasks(form=paper_form)).tasks


def test_a_workflow_that_is_not_hidden_is_told():
    chain = run(library(), ["ql", "qb", "qa"])
    told = draft(library(), chain, stream(0, "x"), hides_workflow=False)
    hidden = draft(library(), chain, stream(0, "x"))
    assert "ook at" in told.question and "ook at" not in hidden.question and told.wanted == hidden.wanted


def test_what_was_changed_after_it_was_read_is_not_asked_about():
    steps = (
        Step("qb", {"id": "b1"}, {"by": "a1", "pages": 107, "state": "open"}, {"id": Source(how="record")}),
        Step("ub", {"id": "b1", "state": "lent"}, "done", {"id": Source(how="record"), "state": Source(how="record")}),
        Step("nb", {"state": "open"}, 7, {"state": Source(0, ("state",))}),
    )
    assert draft(library(), Chain(steps, "", True), stream(0, "x")) == "changed after it was read"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(STRUCTURES), st.sampled_from([1, 2]))
def test_no_question_names_a_tool_or_a_table(seed, structure, level):
    how = GraphTasks(num_walks=6, max_chains=2, seed=seed)
    for task in write_graph_tasks(Reference(MAKER, {"seed": seed, "structure": structure, "level": level}), how).tasks:
        world = world_of(task)
        names = {t.name for t in world.tools} | {t.name for t in world.tables}
        said_words = set(task.question.lower().replace('"', " ").replace(".", " ").replace(",", " ").split())
        assert not names & said_words, task.question


def test_a_world_without_plain_words_gives_no_questions_for_they_would_name_its_tables():
    found = write_graph_tasks(Reference(f"{HERE}:wordless"))
    told = found.funnel["names a tool or a table"] + found.funnel["nothing to tell"]
    assert not found.tasks and told == found.funnel["chains kept"] == 4 and found.funnel["names a tool or a table"]
    assert names_in("Count the TBL_B, please", library()) == ("tbl_b",)


# ---------------------------------------------------------------- written by a policy

ANALYSIS = [
    {"tool": "get_loan", "operation": "query", "inputs": ["id"], "outputs": ["what", "days"], "dependencies": []},
    {"tool": "get_book", "operation": "query", "inputs": ["id"], "outputs": ["by", "pages", "state"],
     "dependencies": [{"tool": "get_loan", "type": "weak", "field": "what"}]},
    {"tool": "count_books", "operation": "query", "inputs": ["state"], "outputs": ["number"], "dependencies": []},
    {"tool": "loans_of", "operation": "query", "inputs": ["what"], "outputs": ["id"], "dependencies": []},
]  # fmt: skip
RUBRIC = [
    {"kind": "fields", "field": "", "wanted": ["days"], "points": 10, "is_hard": False},
    {"kind": "value", "field": "days", "wanted": 4, "points": 90, "is_hard": True},
]


def scribe(reply, question="How long, in days, was the volume away? Call it days."):
    def say(text):
        if text.startswith("These are tools"):
            return json.dumps(ANALYSIS)
        return json.dumps(reply) if text.startswith("A request") else question

    return Scribe(say)


def by_policy(policy, **more):
    return write_graph_tasks(Reference(f"{HERE}:mute_library"), GraphTasks(policy=policy, **more))


def test_a_policy_writes_question_answer_and_rubric():
    policy = scribe({"answer": {"days": 4}, "rubric": RUBRIC})
    found = by_policy(policy)
    assert found.tasks and found.funnel["tasks"] == len(found.tasks)
    task = found.tasks[0]
    assert json.loads(task.private.answer) == {"days": 4} and task.origin.how == "graph, words by scribe"
    state = from_json(task.private.data["chain"]).state
    assert passing(task, "days: 4", {"state": state}).value == 1
    assert passing(task, "days: 4", {"state": "x"}).value == passing(task, "days: 5", {"state": state}).value == 0
    assert {how.temperature for _, how in policy.asked} == {0.2, 0.7}


def test_a_hidden_workflow_is_asked_for_in_a_second_rewriting():
    policy = scribe({"answer": {"days": 4}, "rubric": RUBRIC})
    by_policy(policy, difficulty=Difficulty(hides_workflow=True))
    assert any(text.startswith("Say the following request anew") for text, _ in policy.asked)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"unanswerable": True}, "unanswerable"),
        ("no JSON here", "an answer that cannot be read"),
        ({"answer": {}, "rubric": RUBRIC}, "an answer of no or too many fields"),
        ({"answer": dict.fromkeys("abcdef", 1), "rubric": RUBRIC}, "an answer of no or too many fields"),
        ({"answer": {"days": 4}}, "a rubric that cannot be used"),
        ({"answer": {"days": 4}, "rubric": RUBRIC[1:]}, "a rubric that cannot be used"),
        ({"answer": {"days": 5}, "rubric": RUBRIC}, "a rubric that does not fit its answer"),
        ({"answer": {"days": 4}, "rubric": [RUBRIC[0] | {"points": 100}]}, "a rubric that does not fit its answer"),
    ],
)
def test_what_a_policy_cannot_settle_is_dropped_with_the_reason(reply, reason):
    found = by_policy(scribe(reply))
    assert not found.tasks and found.funnel[reason] == found.funnel["chains kept"] > 0, found.funnel


def test_a_question_that_names_a_tool_is_dropped():
    found = by_policy(scribe({"answer": {"days": 4}, "rubric": RUBRIC}, "Call get_loan and tell the days."))
    assert not found.tasks and found.funnel["names a tool or a table"] > 0
    found = by_policy(scribe({"answer": {"days": 4}, "rubric": RUBRIC}, "  "))
    assert not found.tasks and found.funnel["no question"] > 0


def test_worlds_that_say_nothing_need_a_policy():
    with pytest.raises(ValueError, match="policy"):
        write_graph_tasks(Reference(f"{HERE}:mute_library"))
