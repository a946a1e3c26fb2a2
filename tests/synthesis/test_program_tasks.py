import asyncio
import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.envs.databases import Databases, OpenDatabase, world_of
from evolvent.envs.manufacture.parametric import STRUCTURES
from evolvent.envs.sandbox.choose import best
from evolvent.errors import BadInput, EvolventError, VerifierError
from evolvent.policies.scripted import Fixed, Oracle
from evolvent.records import Reference, Sampling
from evolvent.rewards import by_task
from evolvent.rewards.state import check_by_code
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import ToolLoop
from evolvent.seeds import stream
from evolvent.synthesis.difficulty import LEVELS, Difficulty
from evolvent.synthesis.program_runs import count_assertions, count_flow, run_solution
from evolvent.synthesis.program_shapes import SHAPES, Worked, work
from evolvent.synthesis.program_tasks import ProgramTasks, write_program_tasks
from synthesis.made_worlds import HERE, Scribe, library

LIBRARY = Reference(f"{HERE}:library")
MAKER = "evolvent.envs.manufacture.parametric:manufacture"


def sandbox_works():
    try:
        return bool(best())
    except EvolventError:
        return False


needs_sandbox = pytest.mark.skipif(not sandbox_works(), reason="no sandbox works here (see evolvent doctor)")


def stage(policy):
    how, budgets = Sampling(512), Budgets(512, 8192, 4096)
    return Stage(ToolLoop(32), Databases(), {"agent": policy}, {"agent": "agent"}, how, budgets)


@cache
def written():
    tasks = [t for s in range(6) for t in write_program_tasks(LIBRARY, ProgramTasks(seed=s)).tasks]
    assert len(tasks) >= 18
    return tasks


def test_the_oracle_scores_one_an_empty_answer_nothing():
    tasks = list({t.question: t for t in written()}.values())
    played = play([Attempt(t, 0) for t in tasks], stage(Oracle.of(tasks)))
    assert [s.value for s in by_task(played)] == [1.0] * len(tasks)
    assert {s.value for s in by_task(play([Attempt(t, 0) for t in tasks], stage(Fixed(""))))} == {0.0}


def test_the_right_answer_with_a_wrong_final_state_fails():
    untouched = OpenDatabase(library()).state_digest()
    writing = [t for t in written() if t.private.data["state"] != untouched]
    assert writing, "no program writes"
    for task in writing:
        (played,) = play([Attempt(task, 0)], stage(Fixed(task.private.answer)))
        score = by_task([played])[0]
        assert score.components == {"answer": 1.0, "state": 0.0} and score.value == 0


def test_every_shape_works_in_the_library_and_its_answer_is_that_of_the_tables():
    done = {
        shape.__name__: [w for i in range(25) if isinstance(w := work(library(), shape, stream(i, "x")), Worked)]
        for shape in SHAPES
    }
    assert {name for name, works in done.items() if not works} == {"reward_larger"}, "nothing sets an author"
    pages = {row[0]: row[2] for row in library().tables[1].rows}
    books = {a: [b for b, by, _, _ in library().tables[1].rows if by == a] for a in ("a0", "a1", "a2", "a3", "a4")}
    for made in done["total"]:
        if "over all books" in made.question:
            author = made.question.split('"')[1]
            assert made.wanted["sum of pages"] == sum(pages[b] for b in books[author])
            assert made.wanted["number of books"] == len(books[author]) == len(made.solution) - 2


def test_oracles_solve_programs_of_every_shape_in_large_parametric_worlds():
    names = set()
    for shape in SHAPES:
        worlds = [Reference(MAKER, {"seed": i, "structure": "aggregate", "level": 4}) for i in range(4)]
        tasks = [t for w in worlds for t in write_program_tasks(w, ProgramTasks(shapes=(shape,), num_programs=9)).tasks]
        played = play([Attempt(t, 0) for t in tasks], stage(Oracle.of(tasks)))
        assert all(s.value == 1 for s in by_task(played)), shape.__name__
        names |= {shape.__name__} if tasks else set()
    assert len(names) == len(SHAPES), names


def test_difficulty_asks_for_branches_tables_and_calls():
    easy = write_program_tasks(LIBRARY, ProgramTasks(difficulty=Difficulty(min_steps=1)))
    hard = ProgramTasks(difficulty=LEVELS[3], num_programs=60)
    found = write_program_tasks(LIBRARY, hard)
    assert found.funnel["too few branches"] > 0 and found.funnel["tasks"] == len(found.tasks)
    assert all(len(t.private.solution) - 1 >= LEVELS[3].min_steps for t in found.tasks)
    assert easy.tasks
    assert easy.funnel["programs"] == sum(num for name, num in easy.funnel.counts.items() if name != "worlds") / 2


def test_tasks_are_pure_in_seed_and_world():
    assert write_program_tasks(LIBRARY) == write_program_tasks(LIBRARY)
    assert write_program_tasks(LIBRARY).tasks != write_program_tasks(LIBRARY, ProgramTasks(seed=1)).tasks


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(STRUCTURES), st.sampled_from([1, 2]))
def test_no_question_names_a_tool_or_a_table(seed, structure, level):
    world = Reference(MAKER, {"seed": seed, "structure": structure, "level": level})
    for task in write_program_tasks(world, ProgramTasks(seed=seed)).tasks:
        names = {t.name for t in world_of(task).tools} | {t.name for t in world_of(task).tables}
        words = set(task.question.lower().replace('"', " ").replace(".", " ").replace(",", " ").split())
        assert not names & words, task.question


def test_worlds_that_say_nothing_need_a_policy():
    with pytest.raises(BadInput, match="policy"):
        write_program_tasks(Reference(f"{HERE}:mute_library"))


def test_control_flow_and_assertions_are_counted():
    assert count_flow("def solve(call):\n  return sum(x for x in y if x)") == (1, 1)
    assert count_flow("for x in y:\n  if x: pass\nwhile 1: pass") == (2, 1)
    assert count_flow("def (") == (-1, -1) and count_assertions("def (") == -1
    assert count_assertions("assert 1\nassert 2") == 2


# ---------------------------------------------------------------- written by a policy, run in the sandbox

GOOD = """
def solve(call):
    num = 0
    for book in call("books_by", by="a1"):
        if call("get_book", id=book["id"])["state"] == "open":
            call("set_state", id=book["id"], state="lent")
            num += 1
    return {"volumes": num}
"""
VERIFIER = """
def verify(answer, expected, changes):
    assert isinstance(answer, dict), "no fields"
    assert answer.get("volumes") == expected["volumes"], "wrong number"
    assert set(changes) == {"tbl_b"}, "wrong tables"
    assert all(row[3] == "lent" for row in changes["tbl_b"]["new"]), "not lent"
    assert len(changes["tbl_b"]["new"]) == expected["volumes"]
"""
ASKED = "QUESTION: Hand out every volume of writer a1 that is in, and tell how many (volumes).\n"


def fenced(source):
    return f"```python\n{source}\n```"


def coder(*programs, verifiers=(VERIFIER,), question=ASKED):
    programs, verifiers = list(programs), list(verifiers)

    def say(text):
        if "def verify(" in text.split("```")[0]:
            return fenced(verifiers.pop(0))
        return ("" if "It failed:" in text else question) + fenced(programs.pop(0))

    return Scribe(say)


def by_policy(policy, **more):
    return write_program_tasks(Reference(f"{HERE}:mute_library"), ProgramTasks(policy=policy, max_tasks=1, **more))


@needs_sandbox
def test_a_written_program_gives_the_answer_and_its_verifier_judges_it():
    found = by_policy(coder(GOOD))
    assert found.tasks, found.funnel
    task = found.tasks[0]
    assert json.loads(task.private.answer) == {"volumes": 2} and len(task.private.solution) == 7
    (played,) = play([Attempt(task, 0)], stage(Oracle.of([task])))
    assert by_task([played])[0].value == 1, by_task([played])[0].why
    (idle,) = play([Attempt(task, 0)], stage(Fixed(task.private.answer)))
    assert by_task([idle])[0].value == 0, "the right answer with a wrong state passed"
    assert check_by_code(task, "volumes: 3", played.info).value == 0
    assert check_by_code(task, "", played.info).value == 0
    with pytest.raises(VerifierError, match="by code"):
        check_by_code(task, "volumes: 2", {})


@needs_sandbox
def test_a_program_that_fails_is_repaired_with_its_error_in_sight():
    policy = coder(GOOD.replace("num = 0", "num = zero"), "def solve(call): return {}", GOOD)
    assert by_policy(policy).tasks
    repairs = [text for text, _ in policy.asked if "It failed:" in text]
    assert len(repairs) == 2 and "NameError" in repairs[0] and "needs a loop" in repairs[1]


@needs_sandbox
def test_a_verifier_that_accepts_everything_is_repaired_or_the_task_is_dropped():
    lax = "def verify(answer, expected, changes):\n    assert True\n    assert 1"
    stateless = VERIFIER.replace("set(changes) == {'tbl_b'}", "True").split("    assert set")[0]
    policy = coder(GOOD, verifiers=[lax, stateless, VERIFIER])
    assert by_policy(policy).tasks
    told = [text for text, _ in policy.asked if "It is wrong:" in text]
    assert "accepts the wrong answer" in told[0] and "accepts the wrong changes" in told[1]
    found = by_policy(coder(GOOD, verifiers=[lax, lax]), max_repairs=1)
    assert not found.tasks and found.funnel["a verifier that does not tell right from wrong"] == 1


@needs_sandbox
@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (coder(*["def solve(call):\n  for x in 1: pass"] * 2), "a program that does not run"),
        (coder(GOOD, question="no such line "), "no question"),
        (coder(GOOD, question="QUESTION: use set_state on all\n"), "names a tool or a table"),
        (coder(*["import random\ndef solve(call):\n  for x in 'ab': y = random.random()\n  return {'a': y}"] * 2),
         "a program that does not run"),
    ],
)  # fmt: skip
def test_programs_are_dropped_with_the_reason(policy, reason):
    found = by_policy(policy, max_repairs=1)
    assert not found.tasks and found.funnel[reason] == 1, found.funnel


@needs_sandbox
def test_a_solution_sees_the_tools_and_nothing_of_the_machine():
    reach = 'import os\ndef solve(call):\n    for x in (1,): return {"home": os.path.exists("/work")}'
    ran = run_solution(best(), library(), reach)
    assert not ran.fault and ran.value["answer"]["home"] is False, ran
    endless = run_solution(best(), library(), "def solve(call):\n    while True: call('nb', state='open')")
    assert "no calls left" in endless.fault
    wrong = run_solution(best(), library(), "def solve(call): return call('nb', stat='open')")
    assert "needs just the arguments state" in wrong.fault


@needs_sandbox
def test_what_tools_say_in_the_sandbox_is_what_the_world_says():
    source = "def solve(call):\n" + "\n".join(
        f"    call({name!r}, **{arguments!r})"
        for name, arguments in (
            ("qb", {"id": "b1"}),
            ("fb", {"by": "a1"}),
            ("nb", {"state": "open"}),
            ("cl", {"what": "b1", "days": 3}),
            ("ub", {"id": "b1", "state": "lent"}),
            ("dl", {"id": "l0"}),
        )
    )
    ran = run_solution(best(), library(), source + "\n    return 1")
    world = OpenDatabase(library())
    assert not ran.fault and [world.run(tool, arguments) for tool, arguments, _ in ran.value["calls"]] == [
        found for _, _, found in ran.value["calls"]
    ]
    assert asyncio.run(world.__aexit__(None, None, None)) is None
