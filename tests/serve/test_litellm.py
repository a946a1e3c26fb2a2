"""The server as litellm sees it."""

import json
import os

import pytest

from evolvent.records import Message, Text, Tool, ToolCall
from reciter import RENDERER

END = RENDERER.added["<|end|>"]


@pytest.fixture(scope="module")
def litellm():
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would look for a price list otherwise
    return pytest.importorskip("litellm")


def ask(litellm, client, **fields):
    body = {"model": "openai/r", "messages": [{"role": "user", "content": "q"}], "max_retries": 0, **fields}
    return litellm.completion(api_base=f"{client.url}/v1", api_key="none", **body)


def test_words_ids_and_log_probabilities_arrive(litellm, recited):
    recited.policy.says["q"] = (*b"four", END)
    answer = ask(litellm, recited, logprobs=True, extra_body={"return_token_ids": True})
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason, answer.usage.completion_tokens) == ("four", "stop", 5)
    assert choice.provider_specific_fields["token_ids"] == [*b"four", END]
    assert [entry.logprob for entry in choice.logprobs.content] == [-0.01, -0.02, -0.03, -0.04, -0.05]


def test_a_stream_arrives_token_by_token(litellm, recited):
    recited.policy.says["q"] = (*"fünf".encode(), END)
    chunks = list(ask(litellm, recited, stream=True))
    words = [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content]
    assert words == ["f", "ü", "n", "f"] and chunks[-1].choices[0].finish_reason == "stop"


def test_tools_are_called(litellm, recited):
    tool = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    recited.policy.says["q"] = RENDERER.reply(Message("assistant", (Text(""), ToolCall("add", {"a": 1}))), (tool, tool))
    wire = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": tool.parameters}}
    other = {"type": "function", "function": {**wire["function"], "name": "sub"}}
    for stream in (False, True):
        answer = ask(litellm, recited, tools=[wire, other], max_tokens=90, stream=stream)
        if stream:
            answer = litellm.stream_chunk_builder(list(answer))
        [call] = answer.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1})


def test_refusals_are_the_errors_that_litellm_knows(litellm, recited):
    with pytest.raises(litellm.BadRequestError):
        ask(litellm, recited, temperature=9)
    with pytest.raises(litellm.NotFoundError):
        ask(litellm, recited, model="openai/other")


def test_bare_text_goes_on(litellm, recited):
    recited.policy.says["ab"] = (*b"cd", END)
    made = litellm.text_completion(
        model="text-completion-openai/r", prompt=[list(b"ab")], max_tokens=3, api_base=f"{recited.url}/v1", api_key="x"
    )
    assert (made.choices[0].text, made.choices[0].finish_reason) == ("cd", "stop")
