"""Streams: chunk by chunk as tokens are decoded, and in the end the same as the whole."""

import asyncio
import json
import threading

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.policies.answer import Ask
from evolvent.policies.endpoint import Endpoint
from evolvent.records import Message, Prompt, Sampling, Text, Tool, ToolCall, said
from evolvent.serve.spelling import Spelling
from reciter import RENDERER, until

TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}
END = RENDERER.added["<|end|>"]
USER = [{"role": "user", "content": "2+2="}]


@pytest.fixture(scope="module")
def client(door):
    with openai.OpenAI(base_url=f"{door}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("fields", [{}, {"stop": ["a", "<"]}, {"top_p": 0.8}, {"temperature": 0}], ids=str)
def test_a_stream_is_the_whole_in_pieces(client, fields):
    asked = {
        "n": 3, "seed": 7, "logprobs": True, "top_logprobs": 2, "extra_body": {"return_token_ids": True}, **fields,
    }  # fmt: skip
    body = {"model": "small", "messages": USER, "max_tokens": 24, "temperature": 0.9, **asked}
    whole = client.chat.completions.create(**body)
    chunks = list(client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].prompt_token_ids == whole.prompt_token_ids and chunks[-1].usage == whole.usage
    for place, choice in enumerate(whole.choices):
        mine = [c for chunk in chunks for c in chunk.choices if c.index == place]
        with_ids = [c for c in mine if getattr(c, "token_ids", None)]
        assert all(len(c.token_ids) == len(c.logprobs.content) == 1 for c in with_ids)
        assert [c.token_ids[0] for c in with_ids] == choice.token_ids
        # another number of rows may round the last digits otherwise
        for one, other in zip((c.logprobs.content[0] for c in with_ids), choice.logprobs.content, strict=True):
            assert (one.token, one.bytes) == (other.token, other.bytes)
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [t.token for t in one.top_logprobs] == [t.token for t in other.top_logprobs]
        assert "".join(c.delta.content or "" for c in mine) == (choice.message.content or "")
        calls = [call for c in mine for call in c.delta.tool_calls or []]
        written = [(call.function.name, call.function.arguments) for call in calls]
        assert written == [(c.function.name, c.function.arguments) for c in choice.message.tool_calls or []]
        assert [c.finish_reason for c in mine if c.finish_reason] == [choice.finish_reason]


def test_a_chunk_comes_while_the_next_token_is_not_there_yet(recited):
    policy = recited.policy
    policy.says["q"] = (*b"abc", END)
    stream = iter(recited.chat.completions.create(model="r", messages=[{"role": "user", "content": "q"}], stream=True))
    # of the first tokens nothing holds anything back, so each must arrive with its step
    assert next(stream).choices[0].delta.role == "assistant"
    got = [next(stream).choices[0].delta.content for _ in range(3)]
    assert got == ["a", "b", "c"]

    gate = policy.may_speak
    gate.clear()
    heard: list[str] = []

    def listen():
        body = {"model": "r", "messages": [{"role": "user", "content": "q"}], "stream": True}
        for chunk in recited.chat.completions.create(**body):
            heard.append(chunk.choices[0].delta.content)

    thread = threading.Thread(target=listen)
    thread.start()
    for number in range(1, 4):
        gate.set()
        until(lambda number=number: len(heard) > number)
        gate.clear()
    gate.set()
    thread.join(20)
    assert heard == ["", "a", "b", "c", "", None]  # the role, three letters, the end mark, the reason of the end


def test_half_a_character_waits_for_its_other_half(recited):
    recited.policy.says["q"] = (*"é€🙂!".encode(), END)
    body = {"model": "r", "messages": [{"role": "user", "content": "q"}], "stream": True}
    chunks = list(recited.chat.completions.create(**body, extra_body={"return_token_ids": True}))
    words = [c.choices[0].delta.content for c in chunks if getattr(c.choices[0], "token_ids", None)]
    assert words == ["", "é", "", "", "€", "", "", "", "🙂", "!", ""]


def test_what_may_begin_a_stop_string_waits_and_the_stop_string_never_goes_out(recited):
    recited.policy.says["q"] = (*b"one, two, STOP three", END)
    body = {"model": "r", "messages": [{"role": "user", "content": "q"}], "stop": [", STOP", "zzz"]}
    chunks = list(recited.chat.completions.create(**body, stream=True))
    words = [c.choices[0].delta.content or "" for c in chunks]
    assert "".join(words) == "one, two" == recited.chat.completions.create(**body).choices[0].message.content
    assert words[1:6] == ["o", "n", "e", "", ""] and ", t" in words
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_call_is_told_whole_and_nothing_of_it_as_words(recited):
    tool = Tool("add", "Adds.", {})
    message = Message("assistant", (Text("Let me see. "), ToolCall("add", {"a": 1}), ToolCall("add", {"b": "é"})))
    recited.policy.says["q"] = RENDERER.reply(message, (tool,))
    body = {"model": "r", "messages": [{"role": "user", "content": "q"}], "tools": [TOOL], "max_tokens": 200}
    whole = recited.chat.completions.create(**body).choices[0]
    chunks = list(recited.chat.completions.create(**body, stream=True))
    deltas = [c.choices[0].delta for c in chunks]
    assert "".join(d.content or "" for d in deltas) == whole.message.content == "Let me see. "
    calls = [call for d in deltas for call in d.tool_calls or []]
    assert [(c.index, c.function.name, json.loads(c.function.arguments)) for c in calls] == [
        (0, "add", {"a": 1}), (1, "add", {"b": "é"}),
    ]  # fmt: skip
    assert len({c.id for c in calls}) == 2
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason == "tool_calls"


class Tags:
    """Calls written in words, as models without marks of their own write them."""

    stop_ids, call_start, native_calls = frozenset({END}), tuple(b"<tool_call>\n"), False
    text = staticmethod(RENDERER.text)


@given(st.lists(st.sampled_from(["a", "\n", "<", "<tool", "<tool_call>", "</tool_call>", "x<t", "é"]), max_size=8))
@settings(max_examples=200, deadline=None)
def test_words_before_a_written_call_go_out_and_the_rest_waits(pieces):
    text = "".join(pieces)
    gate = Spelling(Tags()).chat_gate(())
    out = "".join(gate.add(byte) for byte in text.encode())
    start = text.find("<tool_call>")
    before = text if start < 0 else text[:start].removesuffix("\n") if text[start - 1 : start] == "\n" else text[:start]
    assert before.startswith(out)
    waits = before[len(out) :]
    assert start < 0 or not waits
    assert any(mark.startswith(waits) for mark in ("<tool_call>", "\n<tool_call>")) and len(waits) < 12
    assert out + gate.rest(before) == before


def test_an_error_before_the_first_token_has_a_status_and_later_it_is_the_last_event(recited, monkeypatch):
    with pytest.raises(openai.BadRequestError):
        recited.chat.completions.create(model="r", messages=[], stream=True)

    def breaks(prompts, how, watch):
        from evolvent.errors import InfrastructureError
        from evolvent.policies.policy import Step

        watch(Step([0], [65], [-0.1], [-0.1], None))
        raise InfrastructureError("the policy broke")

    monkeypatch.setattr(recited.policy, "sample_now", breaks)
    said_so_far = []
    with pytest.raises(openai.APIError, match="policy broke"):
        for chunk in recited.chat.completions.create(
            model="r", messages=[{"role": "user", "content": "q"}], stream=True
        ):
            said_so_far.append(chunk.choices[0].delta.content)
    assert said_so_far == ["", "A"]


def test_an_async_client_hears_many_streams_at_once(door, ask):
    async def listen(client, seed):
        body = {"model": "small", "messages": USER, "max_tokens": 12, "seed": seed, "stream": True}
        ids = []
        async for chunk in await client.chat.completions.create(**body, extra_body={"return_token_ids": True}):
            ids += [token for c in chunk.choices for token in getattr(c, "token_ids", None) or []]
        return ids

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{door}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(listen(client, seed) for seed in range(20)))

    streamed = asyncio.run(all_of_them())
    for seed in (0, 7, 19):
        body = {"messages": USER, "max_tokens": 12, "seed": seed, "return_token_ids": True}
        assert ask("/v1/chat/completions", **body)["choices"][0]["token_ids"] == streamed[seed]
    assert len({tuple(ids) for ids in streamed}) > 10


def test_recorded_log_probabilities_are_those_of_a_fresh_forward_pass(ask, opinionated):
    import torch

    body = {"messages": USER, "max_tokens": 20, "n": 4, "seed": 1, "logprobs": True, "top_logprobs": 3}
    answer = ask("/v1/chat/completions", **body, return_token_ids=True)
    for choice in answer["choices"]:
        ids = torch.tensor([[*answer["prompt_token_ids"], *choice["token_ids"]]])
        with torch.no_grad():
            table = opinionated.model(input_ids=ids).logits[0, len(answer["prompt_token_ids"]) - 1 : -1].log_softmax(-1)
        for line, token, entry in zip(table, choice["token_ids"], choice["logprobs"]["content"], strict=True):
            assert entry["logprob"] == pytest.approx(line[token].item(), abs=1e-4)
            best = line.topk(3).values.tolist()
            assert [t["logprob"] for t in entry["top_logprobs"]] == pytest.approx(best, abs=1e-4)


def test_our_own_endpoint_reads_ids_from_bare_text_requests(door, opinionated):
    endpoint = Endpoint(f"{door}/v1", "small", ask=Ask.IDS)
    tokens = opinionated.renderer.open([said("user", "2+2=")])
    [made] = asyncio.run(endpoint.sample([Prompt((), tokens=tokens, stream=("e",))], Sampling(10, temperature=0.7)))
    assert len(made.tokens) == len(made.sampled_logprobs) == len(made.model_logprobs) > 0
    assert made.prompt_tokens == len(tokens) and made.sampled_logprobs != made.model_logprobs


def test_our_own_endpoint_ends_where_a_stop_string_stands(recited):
    recited.policy.says["q"] = (*b"one, two, three", END)
    endpoint = Endpoint(f"{recited.url}/v1", "r")
    prompt = Prompt((said("user", "q"),), tokens=RENDERER.open([said("user", "q")]), stops=("wo,", "zz"))
    [made] = asyncio.run(endpoint.sample([prompt], Sampling(30)))
    assert made.text == "one, t"  # as servers tell it; the ids keep what was decoded
    assert bytes(made.tokens[:9]) == b"one, two,"
