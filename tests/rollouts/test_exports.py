"""Episodes as rows of other trainers: conversations by parents, whatever contexts they were recorded in."""

import json

import pytest

from evolvent.records import Message, Tool, ToolResult, said
from evolvent.rollouts.exports import as_messages, as_verifiers, prompt_completions
from evolvent.rollouts.gateway import Asked, Session
from evolvent.rollouts.play import play
from evolvent.rollouts.workflows import Answer

CALC = Tool("calc", "Computes.", {"type": "object", "properties": {"expression": {"type": "string"}}})


async def branches(task, team, world):
    """Two answers to one question, and a conversation that goes on from the first."""
    session = Session(team["agent"])
    question = (said("system", "s"), said("user", "1+1?"))
    both = await session.answer(Asked(question, (CALC,), num=2))
    heard = Message("tool", (ToolResult("calc", "2"),))
    await session.answer(Asked((*question, both.messages[0], heard), (CALC,)))
    return Answer("2")


@pytest.fixture
def episode(stage, puppet, attempts):
    [found] = play(attempts(1), stage(puppet, workflow=branches))
    return found


def test_each_conversation_that_was_held_to_its_end_is_a_row(episode):
    rows = list(as_messages(episode, (CALC,)))
    assert sorted([m["role"] for m in row["messages"]] for row in rows) == [
        ["system", "user", "assistant"],
        ["system", "user", "assistant", "tool", "assistant"],
    ]
    long = max(rows, key=lambda row: len(row["messages"]))["messages"]
    assert long[3]["tool_call_id"] == long[2]["tool_calls"][0]["id"] and long[4]["content"] == "2"
    assert json.loads(json.dumps(rows)) == rows and rows[0]["tools"][0]["function"]["name"] == "calc"


def test_each_sampled_reply_is_a_row_with_all_that_stood_before_it(episode):
    rows = list(prompt_completions(episode))
    assert [len(row["prompt"]) for row in rows] == [2, 2, 4] and all(len(row["completion"]) == 1 for row in rows)
    assert "tools" not in rows[0]


def test_a_row_of_verifiers_is_split_before_the_first_reply(episode):
    row = as_verifiers(episode, 7)
    assert [m["role"] for m in row["prompt"]] == ["system", "user"]
    assert [m["role"] for m in row["completion"]] == ["assistant", "tool", "assistant"]
    assert row["example_id"] == 7 and row["info"]["num_contexts"] == 2 and row["reward"] is None
    assert row["answer"] == episode.task.private.answer
