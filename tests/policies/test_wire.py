import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.policies.wire import messages_from_wire, messages_to_wire, tools_from_wire, tools_to_wire
from evolvent.records import Image, Message, Text, Tool, ToolCall, ToolResult, said

ARGUMENTS = st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans(), st.none()))
CALLS = st.lists(st.builds(lambda a: ToolCall("f", a, raw=json.dumps(a, ensure_ascii=False)), ARGUMENTS), max_size=3)


@given(st.text(), st.text(), CALLS)
def test_a_conversation_comes_back_as_it_went(question, words, calls):
    blocks = ((Text(words),) if words else ()) + tuple(calls)
    answers = [Message("tool", (ToolResult("f", str(i)),)) for i, _ in enumerate(calls)]
    messages = (said("system", "s"), said("user", question), Message("assistant", blocks), *answers)
    wire = json.loads(json.dumps(messages_to_wire(messages)))
    assert messages_from_wire(wire) == messages


@given(st.text())
def test_a_call_that_nobody_could_read_travels_as_valid_json_and_comes_back(raw):
    messages = (
        said("user", "q"),
        Message("assistant", (ToolCall("f", None, raw=raw),)),
        Message("tool", (ToolResult("f", "that call was not JSON"),)),
    )
    wire = messages_to_wire(messages)
    assert isinstance(json.loads(wire[1]["tool_calls"][0]["function"]["arguments"]), dict)
    assert messages_from_wire(wire) == messages


def test_results_are_paired_with_calls_by_name_and_then_by_order():
    calls = Message("assistant", (ToolCall("a", {}), ToolCall("b", {}), ToolCall("a", {})))
    results = [Message("tool", (ToolResult(name, text),)) for name, text in (("b", "1"), ("a", "2"), ("a", "3"))]
    wire = messages_to_wire([calls, *results])
    ids = [call["id"] for call in wire[0]["tool_calls"]]
    assert [entry["tool_call_id"] for entry in wire[1:]] == [ids[1], ids[0], ids[2]]


def test_a_result_without_a_call_is_told_by_the_user():
    assert messages_to_wire([Message("tool", (ToolResult("a", "7"),))]) == [{"role": "user", "content": "7"}]


def test_pictures_are_refused_with_a_cure():
    with pytest.raises(BadInput, match="Image"):
        messages_to_wire([Message("user", (Image("0" * 64),))])


@pytest.mark.parametrize(
    ("wire", "where"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "poet", "content": "x"}], r"messages\[0\]"),
        ([{"role": "user", "content": 3}], r"messages\[0\].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"messages\[0\].content"),
        ([{"role": "user", "content": "x", "mood": "sad"}], r"messages\[0\].mood"),
        ([{"role": "tool", "content": "x", "tool_call_id": "c"}], r"messages\[0\].tool_call_id"),
        ([{"role": "assistant", "tool_calls": 3}], r"messages\[0\].tool_calls"),
    ],
)
def test_messages_that_cannot_be_read_are_refused_by_place(wire, where):
    with pytest.raises(BadInput, match=where):
        messages_from_wire(wire)


def test_a_message_sent_back_with_its_nulls_is_read():
    entry = {"role": "assistant", "content": "hi", "refusal": None, "annotations": [], "function_call": None}
    assert messages_from_wire([entry]) == (said("assistant", "hi"),)


def test_tools_come_back_as_they_went_and_twins_are_refused():
    tool = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    assert tools_from_wire(json.loads(json.dumps(tools_to_wire([tool])))) == (tool,)
    with pytest.raises(BadInput, match="same name"):
        tools_from_wire(tools_to_wire([tool, tool]))
    with pytest.raises(BadInput, match=r"tools\[0\]"):
        tools_from_wire([{"type": "web_search"}])
