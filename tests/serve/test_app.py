"""The served policy as the openai client sees it, over a real port."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from evolvent.errors import BadInput, InfrastructureError
from evolvent.policies.endpoint import Endpoint
from evolvent.policies.scripted import Fixed, Oracle, RandomWords
from evolvent.records import Completion, Finish, Message, Prompt, Sampling, Text, Tool, ToolCall, ToolResult, said
from evolvent.serve import PolicyDesk, background, make_app

END = 256
TOOL = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
WIRE_TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": TOOL.parameters}}
CALL = Message("assistant", (Text("Let me see. "), ToolCall("add", {"a": 1})))


class Bytes:
    """A tiny renderer: one token per byte, and an end mark."""

    stop_ids, call_start, native_calls = frozenset({END}), (), True

    def plain(self, text):
        return tuple(text.encode())

    def open(self, messages, tools=()):
        return tuple("".join(f"{m.role}:{m.text}\n" for m in messages).encode())

    def parse(self, tokens, tools=()):
        return said("assistant", self.text([t for t in tokens if t != END]))

    def text(self, tokens):
        return b"".join(b"<end>" if t == END else bytes([t]) for t in tokens).decode(errors="replace")


class Echo:
    """Says the last message back, token by token; `seen` keeps what it was asked and the sizes of its batches."""

    name = "echo"
    version = 3

    def __init__(self):
        self.seen, self.batches = [], []

    async def sample(self, prompts, how):
        self.seen += [(p, how) for p in prompts]
        self.batches.append(len(prompts))
        if any(p.messages[-1].text == "break" for p in prompts):
            raise InfrastructureError("the policy broke")
        if any(p.messages[-1].text == "long" for p in prompts):
            raise BadInput("the prompt is longer than the context", got="9 tokens")
        return [self._say(p) for p in prompts]

    def _say(self, prompt):
        tokens = (*prompt.messages[-1].text.encode(), END)
        sampled = tuple(-0.125 * (i + 1) for i in range(len(tokens)))
        model = tuple(-0.25 * (i + 1) for i in range(len(tokens)))
        return Completion(tokens, "", sampled, model, 3, Finish.STOP, "c")


@pytest.fixture(scope="module")
def echo():
    policy = Echo()
    with background(make_app(PolicyDesk(policy, Bytes(), "nano"))) as url:
        policy.url = url
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as policy.client:
            yield policy


def say(echo, text="hello", **fields):
    return echo.client.chat.completions.create(model="nano", messages=[{"role": "user", "content": text}], **fields)


def test_a_chat_answers_in_the_clients_own_types(echo):
    answer = say(echo)
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason, choice.message.tool_calls) == ("hello", "stop", None)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len("user:hello\n"), 6)
    assert answer.evolvent_version == 3 and answer.model == "nano"


def test_every_choice_of_n_has_a_stream_of_its_own(echo):
    answer = say(echo, n=2, seed=5)
    assert [c.index for c in answer.choices] == [0, 1]
    assert [p.stream for p, _ in echo.seen[-2:]] == [("serve", "seed", 5, 0), ("serve", "seed", 5, 1)]


def test_sampling_fields_reach_the_policy(echo):
    say(echo, temperature=0.5, top_p=0.9, max_completion_tokens=7, extra_body={"top_k": 4})
    prompt, how = echo.seen[-1]
    assert how == Sampling(7, 0.5, 0.9, 4, 0) and prompt.max_tokens == 7
    assert prompt.tokens == tuple(b"user:hello\n")


def test_token_ids_and_log_probabilities_come_one_per_token_with_the_end_in_both(echo):
    answer = say(echo, "hé", logprobs=True, extra_body={"return_token_ids": True})
    [choice] = answer.choices
    assert answer.prompt_token_ids == list("user:hé\n".encode())
    assert choice.token_ids == [*"hé".encode(), END]
    assert [entry.logprob for entry in choice.logprobs.content] == [-0.125, -0.25, -0.375, -0.5]
    assert [entry.bytes for entry in choice.logprobs.content] == [[104], None, None, list(b"<end>")]
    assert "token_ids" not in say(echo).choices[0].model_dump()


def test_a_stream_brings_role_words_end_and_usage(echo):
    got = list(say(echo, "one two\n  three", stream=True, stream_options={"include_usage": True}, n=2))
    deltas = [c for chunk in got for c in chunk.choices]
    for place in (0, 1):
        mine = [c for c in deltas if c.index == place]
        assert mine[0].delta.role == "assistant"
        assert "".join(c.delta.content or "" for c in mine) == "one two\n  three"
        assert [c.finish_reason for c in mine if c.finish_reason] == ["stop"]
    assert got[-1].choices == [] and got[-1].usage.completion_tokens == 2 * 16
    assert len({chunk.id for chunk in got}) == 1


def test_a_stream_ends_with_done_and_carries_the_same_ids(echo):
    body = {"model": "nano", "messages": [{"role": "user", "content": "ab"}], "stream": True}
    reply = httpx.post(f"{echo.url}/v1/chat/completions", json={**body, "return_token_ids": True, "logprobs": True})
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert reply.headers["content-type"].startswith("text/event-stream") and events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert chunks[0]["prompt_token_ids"] == list(b"user:ab\n")
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [c["token_ids"] for c in choices if "token_ids" in c] == [[97], [98], [END]]
    assert [e["logprob"] for c in choices if c["logprobs"] for e in c["logprobs"]["content"]] == [-0.125, -0.25, -0.375]
    assert [c["finish_reason"] for c in choices] == [None] * 4 + ["stop"]


def test_tool_calls_and_their_results_go_both_ways():
    oracle = Oracle({"1+1?": (CALL, said("assistant", "2"))})
    with background(make_app(PolicyDesk(oracle, None, "oracle"))) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        messages = [{"role": "user", "content": "1+1?"}]
        first = client.chat.completions.create(model="oracle", messages=messages, tools=[WIRE_TOOL]).choices[0]
        call = first.message.tool_calls[0]
        assert first.finish_reason == "tool_calls" and first.message.content == "Let me see. "
        assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1})
        messages += [first.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "2"}]
        second = client.chat.completions.create(model="oracle", messages=messages, tools=[WIRE_TOOL]).choices[0]
        assert (second.message.content, second.finish_reason) == ("2", "stop")
        streamed = client.chat.completions.create(model="oracle", messages=messages[:1], tools=[WIRE_TOOL], stream=True)
        deltas = [d for chunk in streamed for c in chunk.choices for d in c.delta.tool_calls or []]
        assert [(d.index, d.function.name, d.function.arguments) for d in deltas] == [(0, "add", '{"a": 1}')]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": list("abcde")}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": 3}, "stop"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
        ({"extra_body": {"stream": "yes"}}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"),
    ],
)
def test_what_the_server_cannot_do_is_refused_in_openais_shape(echo, fields, param):
    num_seen = len(echo.seen)
    with pytest.raises(openai.BadRequestError) as caught:
        echo.client.chat.completions.create(
            **{"model": "nano", "messages": [{"role": "user", "content": "x"}], **fields}
        )
    assert caught.value.param == param and caught.value.type == "invalid_request_error"
    assert len(echo.seen) == num_seen


def test_an_unknown_field_is_told_its_nearest_name(echo):
    with pytest.raises(openai.BadRequestError, match="temperature"):
        say(echo, extra_body={"temprature": 1})


def test_fields_that_change_nothing_are_read(echo):
    answer = say(echo, stop=None, presence_penalty=0, response_format={"type": "text"}, tool_choice="auto")
    assert answer.choices[0].message.content == "hello"


def test_other_models_paths_methods_and_bodies_are_refused_in_openais_shape(echo):
    with pytest.raises(openai.NotFoundError) as caught:
        echo.client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "model_not_found"
    url = f"{echo.url}/v1/chat/completions"
    for reply, status in (
        (httpx.post(url, content=b"{"), 400),
        (httpx.post(url, content=b"\xff"), 400),
        (httpx.post(url, json=[1]), 400),
        (httpx.get(url), 405),
        (httpx.get(f"{echo.url}/v1/nothing"), 404),
    ):
        assert reply.status_code == status and reply.json()["error"]["message"]


def test_models_and_health_answer(echo):
    assert [model.id for model in echo.client.models.list()] == ["nano"]
    assert httpx.get(f"{echo.url}/health").json() == {"status": "ok", "model": "nano", "version": 3}


def test_a_policy_that_breaks_is_a_server_error_and_a_prompt_too_long_is_the_clients(echo):
    with pytest.raises(openai.InternalServerError, match="policy broke"):
        say(echo, "break")
    with pytest.raises(openai.BadRequestError, match="longer than the context"):
        say(echo, "long")


def test_twenty_clients_at_once_get_their_own_answers_in_shared_batches(echo):
    echo.batches.clear()
    words = [f"client {i}" for i in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda text: say(echo, text, max_tokens=30 + len(text)), words))
    assert [a.choices[0].message.content for a in answers] == words
    assert len({a.id for a in answers}) == 20
    assert sum(echo.batches) == 20 and len(echo.batches) < 20


def test_one_clients_bad_prompt_fails_nobody_else(echo):
    def ask(text):
        try:
            return say(echo, text).choices[0].message.content
        except openai.APIStatusError as error:
            return error.status_code

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, ["a", "long", "b", "break", "c", "d"])) == ["a", 400, "b", 502, "c", "d"]


def test_an_endpoint_of_ours_reads_back_what_our_server_says(echo):
    endpoint = Endpoint(f"{echo.url}/v1", "nano")
    prompts = [Prompt((said("user", f"w{i}"),), tokens=tuple(f"user:w{i}\n".encode())) for i in range(5)]
    made = asyncio.run(endpoint.sample(prompts, Sampling(8, temperature=0.5)))
    assert [m.tokens for m in made] == [(*f"w{i}".encode(), END) for i in range(5)]
    assert made[0].sampled_logprobs == (-0.125, -0.25, -0.375)
    assert made[0].model_logprobs == (-0.25, -0.5, -0.75)
    assert made[0].version == 3 and endpoint.gives_token_ids is True
    assert made[0].message == said("assistant", "w0")


def test_a_policy_without_token_ids_says_so_and_an_endpoint_of_ours_does_without_them():
    with background(make_app(PolicyDesk(Fixed("four"), Bytes(), "fixed"))) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="no token ids"):
            client.chat.completions.create(
                model="fixed", messages=[{"role": "user", "content": "x"}], extra_body={"return_token_ids": True}
            )
        endpoint = Endpoint(f"{url}/v1", "fixed")
        [made] = asyncio.run(endpoint.sample([Prompt((said("user", "x"),))], Sampling(8)))
    assert made.text == "four" and not made.tokens and "without return_token_ids" in made.route


def test_a_conversation_of_an_endpoint_of_ours_keeps_calls_that_nobody_could_read():
    broken = Message("assistant", (ToolCall("add", None, raw='{"a": '),))
    oracle = Oracle({"q": (broken, said("assistant", "done"))})
    with background(make_app(PolicyDesk(oracle, None, "oracle"))) as url:
        endpoint = Endpoint(f"{url}/v1", "oracle")

        def ask(*messages):
            return asyncio.run(endpoint.sample([Prompt(messages, tools=(TOOL,))], Sampling(8)))[0]

        first = ask(said("user", "q"))
        assert first.message == broken and first.finish == Finish.CALL
        result = Message("tool", (ToolResult("add", "not JSON"),))
        assert ask(said("user", "q"), first.message, result).text == "done"


def test_the_same_seed_gets_the_same_answer_and_no_seed_a_new_one():
    with background(make_app(PolicyDesk(RandomWords(tuple("abcdefgh"), 40), None, "random"))) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        def ask(**fields):
            answer = client.chat.completions.create(
                model="random", messages=[{"role": "user", "content": "x"}], **fields
            )
            return answer.choices[0].message.content

        assert ask(seed=1) == ask(seed=1) != ask(seed=2)
        assert ask() != ask()
