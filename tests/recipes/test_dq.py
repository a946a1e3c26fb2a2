from __future__ import annotations

from dataclasses import replace

import pytest

from evolvent.effects.arms import build_policies
from evolvent.models import ModelSpec
from evolvent.plans import check
from evolvent.recipes import dq
from evolvent.records import Episode, Sampling, ToolCall, ToolResult
from evolvent.rollouts.decompose import FAILED, Step, Walk
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import START, Budgets

pytest.importorskip("bm25s")

SOURCE = dq.source_of(dq.build())


def task_of(family, wanted):
    return next(t for i in range(200) if wanted(t := SOURCE.task(family, 1, i)))


def step(walk, call, text):
    walk.steps.append(Step(call, ToolResult(call.name, text), START, ()))


def test_the_teacher_reads_each_hop_through_a_stored_question():
    task = task_of("two_hop", dq.is_answerable)
    [[subject, first, middle], [_, second, last]] = task.private.data["chain"]
    walk, calls = Walk(task), []
    for text in (f"x\n{subject}'s {first}", middle, f"{middle}'s {second}", last, ""):
        calls.append(dq.teach(walk))
        step(walk, calls[-1], text)
    assert [(c.name, *c.arguments.values()) for c in calls] == [
        ("QuestionRetriever", f"{subject}'s {first}"),
        ("AnswerRetriever", f"{subject}'s {first}"),
        ("QuestionRetriever", f"{middle}'s {second}"),
        ("AnswerRetriever", f"{middle}'s {second}"),
        ("Finish", "Success", last),
    ]


def test_the_teacher_gives_up_where_nothing_stored_fits_and_tries_the_other_reading_of_a_vague_word():
    task = task_of("vague", dq.is_answerable)
    subject, walk = task.private.data["subject"], Walk(task)
    first = dq.teach(walk)
    assert first.arguments == {"question": f"{subject}'s home"}
    step(walk, first, "something else")
    assert dq.teach(walk) == ToolCall("Finish", {"status": FAILED})
    walk.steps.pop()
    walk.dead.add(("QuestionRetriever", f"{subject}'s home"))
    assert dq.teach(walk).arguments == {"question": f"{subject}'s school"}
    walk.dead.add(("QuestionRetriever", f"{subject}'s school"))
    assert dq.teach(walk) == ToolCall("Finish", {"status": FAILED})


def test_who_is_taught_successes_only_never_sees_a_failure():
    plan = dq.successes(dq.small(100))
    plan = replace(plan, model=ModelSpec(depth=1), budgets=Budgets(99, 8192, 8192))
    policies = build_policies(plan)
    tasks = [dq.source_of(plan).task(f, 1, i) for f in plan.source.families for i in range(8)]
    workflow = plan.cold_start.workflow
    stage = Stage(workflow, plan.world, policies, plan.seats, Sampling(32), plan.budgets)
    episodes = play([Attempt(task, 0) for task in tasks], stage)
    assert {(e.info["status"], e.info["num_returns"]) for e in episodes} == {("Success", 0)}
    assert [e.answer for e in episodes] == [t.private.answer for t in tasks]


def test_an_answer_is_invented_where_the_base_does_not_give_it():
    right, unknown = task_of("two_hop", dq.is_answerable), task_of("two_hop", lambda t: not dq.is_answerable(t))
    for task, answer, wanted in (
        (right, right.private.answer, 0),
        (right, "zeus", 1),
        (right, "unknown", 0),
        (right, "", 0),
        (unknown, "unknown", 0),
        (unknown, right.private.answer, 1),
    ):
        assert dq.is_invented(Episode("e", task, 0, (), answer)) == wanted


def test_the_control_is_taught_the_base_that_it_is_asked_about():
    plan = dq.free(dq.small(100))
    check(plan)
    told = {plan.source.task("two_hop", 1, i).private.data["base"]["seed"] for i in range(20)}
    assert told == {100} != {dq.small(100).source.task("two_hop", 1, i).private.data["base"]["seed"] for i in range(20)}


def test_the_questions_of_an_effect_are_different_ones_about_the_base_itself():
    source = dq.source_of(dq.small(100))
    for family in source.families:
        tasks = dq.questions(source, family)
        assert len({t.question for t in tasks}) == len(tasks) >= 80
        assert {t.private.data["base"]["seed"] for t in tasks} == {100}
        assert 0.1 < sum(not dq.is_answerable(t) for t in tasks) / len(tasks) < 0.4
