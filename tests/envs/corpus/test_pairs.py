from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs.corpus.pairs import NOTHING, Pairs
from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Task, ToolCall, said

pytest.importorskip("bm25s")

BASE = (("ann's boss", "bo"), ("ann's home", "rome"), ("bo's boss", "cy"), ("dan's tutor", "ann"))


def give(**fields):
    return BASE + tuple(fields.items())


def task(removed=(), **fields):
    data = {"world": {"path": f"{__name__}:give", "arguments": fields}, "removed": list(removed)}
    judge = Reference("evolvent.rewards.verify:exact")
    return Task("t", "f", 1, (said("user", "?"),), Private("", data), judge, Origin(""))


def tell(world, name, **arguments):
    result = asyncio.run(world.call("agent", ToolCall(name, arguments)))
    return result.text, result.is_error


PLAN = Pairs(max_calls=9)


def test_an_answer_is_read_through_a_stored_question():
    world = PLAN.open(task(), 0)
    found, _ = tell(world, "QuestionRetriever", question="ann's boss")
    assert found.split("\n")[0] == "ann's boss" and len(found.split("\n")) == 3
    assert tell(world, "AnswerRetriever", question="ann's boss") == ("bo", False)
    assert tell(world, "AnswerRetriever", question="ann's bos")[1]
    assert tell(world, "QuestionRetriever", question="zebra") == (NOTHING, False)
    assert tell(world, "Finish", status="Failed") == ("Failed", False)
    assert tell(world, "Finish", status="Perhaps")[1]


def test_what_was_removed_for_a_task_is_neither_found_nor_read():
    world = PLAN.open(task(removed=["ann's boss"]), 0)
    assert "ann's boss" not in tell(world, "QuestionRetriever", question="ann's boss")[0].split("\n")
    assert tell(world, "AnswerRetriever", question="ann's boss") == (
        "error: no such stored question; ask QuestionRetriever for one",
        True,
    )
    assert tell(PLAN.open(task(), 0), "AnswerRetriever", question="ann's boss") == ("bo", False)


def test_a_task_names_its_base():
    world = PLAN.open(task(eve="adam"), 0)
    assert tell(world, "AnswerRetriever", question="eve") == ("adam", False)
    assert tell(PLAN.open(task(), 0), "AnswerRetriever", question="eve")[1]


def test_a_task_without_a_base_is_told_how_to_name_one():
    with pytest.raises(BadInput, match="names no base"):
        PLAN.open(replace(task(), private=None), 0)


def test_calls_are_capped_and_a_snapshot_keeps_their_number():
    world = Pairs(max_calls=1).open(task(), 0)
    before = world.snapshot()
    tell(world, "AnswerRetriever", question="ann's boss")
    assert tell(world, "AnswerRetriever", question="ann's boss")[1]
    world.restore(before)
    assert not tell(world, "AnswerRetriever", question="ann's boss")[1]


def test_a_plan_goes_through_json_and_odd_ones_are_refused():
    assert from_json(to_json(PLAN)) == PLAN
    with pytest.raises(BadInput, match="positive"):
        Pairs(k=0)
    with pytest.raises(BadInput, match="stored twice"):
        PLAN.open(task(**{"ann's boss": "twice"}), 0)
