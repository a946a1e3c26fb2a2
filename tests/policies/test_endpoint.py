"""Endpoint against a real server on loopback that misbehaves on purpose."""

import asyncio
import json
import socket
from dataclasses import dataclass, field, replace
from types import FunctionType

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, InfrastructureError
from evolvent.policies.answer import Ask, LogprobsAre
from evolvent.policies.endpoint import Endpoint
from evolvent.policies.policy import Policy
from evolvent.records import Finish, Message, Prompt, Sampling, Tool, ToolCall, ToolResult, said
from evolvent.serve import background

HOW = Sampling(max_tokens=8)
TOOL = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})


def good(text="4", **more):
    """A well-formed answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c1", "choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}, **more}


def with_ids(ids=(52, 256), logprobs=(-0.5, -0.25), prompt_ids=(1, 2)):
    """An answer with token ids."""
    body = good(prompt_token_ids=list(prompt_ids), evolvent_version=7)
    body["choices"][0]["token_ids"] = list(ids)
    body["choices"][0]["logprobs"] = {"content": [{"token": "?", "logprob": x} for x in logprobs]}
    return body


@dataclass
class Server:
    """Answers with `script`, in order, the last one for ever; an entry is a body, a Response, a number of seconds
    to hang, or a function of the request's body."""

    script: list
    seen: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    num_open: int = 0
    max_open: int = 0

    async def answer(self, request):
        self.num_open += 1
        self.max_open = max(self.max_open, self.num_open)
        try:
            body = await request.json()
            self.seen.append(body)
            self.headers.append(dict(request.headers))
            entry = self.script[min(len(self.seen), len(self.script)) - 1]
            entry = entry(body) if isinstance(entry, FunctionType) else entry
            if isinstance(entry, int | float):
                await asyncio.sleep(entry)
                entry = good("late")
            return entry if isinstance(entry, Response) else JSONResponse(entry)
        finally:
            self.num_open -= 1


SERVERS = []
HOST = {}


@pytest.fixture(scope="module", autouse=True)
def port():
    """One port for all scripts of this file: script number i answers below /i/v1."""
    app = FastAPI()

    @app.post("/{number}/v1/{path:path}")
    async def answer(number: int, path: str, request: Request):
        return await SERVERS[number].answer(request)

    with background(app) as url:
        HOST["url"] = url
        yield


def start(script):
    """A server with a script of its own: (server, base url)."""
    SERVERS.append(Server(script))
    return SERVERS[-1], f"{HOST['url']}/{len(SERVERS) - 1}/v1"


def ask(script, *prompts, how=HOW, **fields):
    """What an endpoint makes of a server's script: (completions, server, endpoint)."""
    server, url = start(script)
    endpoint = Endpoint(f"{url}/", "m", **{"backoff_s": 0.01, "timeout_s": 5.0, **fields})
    made = asyncio.run(endpoint.sample(prompts or [Prompt((said("user", "2+2?"),), stream=("t", 0))], how))
    return made, server, endpoint


def error(status, words="no", **headers):
    return JSONResponse({"error": {"message": words}}, status_code=status, headers=headers)


def test_a_completion_carries_words_finish_counts_and_cost():
    [made], server, endpoint = ask([good()], price_per_million=(1.0, 10.0))
    assert (made.text, made.finish, made.prompt_tokens, made.version) == ("4", Finish.STOP, 10, -1)
    assert made.cost == pytest.approx((10 * 1 + 5 * 10) / 1e6)
    assert made.message == said("assistant", "4") and made.call_id == "c1"
    assert endpoint.gives_token_ids is False and "token ids left out" in made.route
    assert server.seen[0]["messages"] == [{"role": "user", "content": "2+2?"}]
    assert "top_k" not in server.seen[0] and "tools" not in server.seen[0]


def test_too_many_requests_are_tried_again_after_the_pause_that_the_server_asks_for():
    [made], server, _ = ask([error(429, **{"Retry-After": "0.2"}), good()])
    assert made.text == "4" and len(server.seen) == 2


def test_two_server_errors_then_an_answer_is_an_answer():
    [made], server, _ = ask([error(500), error(503), good()])
    assert made.text == "4" and len(server.seen) == 3


@pytest.mark.parametrize(
    "bad", [Response("{", media_type="application/json"), {"choices": []}, {"error": {"code": 502}}]
)
def test_an_answer_that_cannot_be_read_is_asked_for_again(bad):
    [made], server, _ = ask([bad, good()])
    assert made.text == "4" and len(server.seen) == 2


def test_a_server_that_hangs_is_an_infrastructure_error_and_never_an_empty_answer():
    with pytest.raises(InfrastructureError, match="2 tries"):
        ask([1.0], timeout_s=0.2, max_tries=2)


def test_a_server_that_hangs_once_is_tried_again():
    [made], _, _ = ask([1.5, good()], timeout_s=0.5)
    assert made.text == "4"


def test_a_closed_port_is_an_infrastructure_error():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        endpoint = Endpoint(f"http://127.0.0.1:{held.getsockname()[1]}/v1", "m", max_tries=2, backoff_s=0.01)
        with pytest.raises(InfrastructureError, match="ConnectError"):
            asyncio.run(endpoint.sample([Prompt((said("user", "x"),))], HOW))
        assert endpoint.check()["ok"] is False


def test_the_last_try_fails_with_the_words_of_the_server():
    with pytest.raises(InfrastructureError, match="out of room"):
        ask([error(503, "out of room")], max_tries=3)


def test_a_pause_that_no_run_can_wait_for_ends_at_once():
    server, url = start([error(429, "tomorrow", **{"Retry-After": "86400"})])
    with pytest.raises(InfrastructureError, match="86400"):
        asyncio.run(Endpoint(url, "m").sample([Prompt((said("user", "x"),))], HOW))
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 413])
def test_a_refusal_is_not_tried_again(status):
    server, url = start([error(status, "go away")])
    with pytest.raises(InfrastructureError, match="go away"):
        asyncio.run(Endpoint(url, "m").sample([Prompt((said("user", "x"),))], HOW))
    assert len(server.seen) == 1


def test_an_empty_purse_is_not_tried_again():
    purse = JSONResponse({"error": {"message": "pay", "code": "insufficient_quota"}}, status_code=429)
    server, url = start([purse])
    with pytest.raises(InfrastructureError, match="pay"):
        asyncio.run(Endpoint(url, "m").sample([Prompt((said("user", "x"),))], HOW))
    assert len(server.seen) == 1


def test_a_filtered_answer_is_no_attempt():
    filtered = good()
    filtered["choices"][0]["finish_reason"] = "content_filter"
    with pytest.raises(InfrastructureError, match="content_filter"):
        ask([filtered])


def test_token_ids_and_both_log_probabilities_are_kept_at_temperature_one():
    [made], server, endpoint = ask([with_ids()], Prompt((said("user", "2+2?"),), tokens=(1, 2), stream=("t",)))
    assert made.tokens == (52, 256) and made.version == 7
    assert made.sampled_logprobs == made.model_logprobs == (-0.5, -0.25)
    assert endpoint.gives_token_ids is True
    assert server.seen[0]["logprobs"] is True and server.seen[0]["return_token_ids"] is True


@pytest.mark.parametrize("how", [replace(HOW, temperature=0.5), replace(HOW, top_p=0.9), replace(HOW, top_k=5)])
def test_away_from_temperature_one_a_log_probability_counts_only_where_its_meaning_is_known(how):
    [unknown], server, _ = ask([with_ids()], how=how)
    [sampled], _, _ = ask([with_ids()], how=how, logprobs_are=LogprobsAre.SAMPLED)
    [model], _, _ = ask([with_ids()], how=how, logprobs_are=LogprobsAre.MODEL)
    [told], _, _ = ask([{**with_ids(), "evolvent_logprobs": "sampled"}], how=how)
    assert unknown.tokens == (52, 256) and not unknown.sampled_logprobs and not unknown.model_logprobs
    assert "temperature is unknown" in unknown.route
    assert (sampled.sampled_logprobs, sampled.model_logprobs) == ((-0.5, -0.25), ())
    assert (model.sampled_logprobs, model.model_logprobs) == ((), (-0.5, -0.25))
    assert told.sampled_logprobs == (-0.5, -0.25)
    assert server.seen[0].get("top_k", 0) == how.top_k


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (with_ids(logprobs=(-0.5,)), "2 ids and 1 log-probabilities"),
        (with_ids(prompt_ids=(9, 9)), "read the prompt as other tokens"),
    ],
)
def test_token_ids_that_cannot_be_trusted_are_left_out_and_the_route_says_why(body, why):
    [made], _, _ = ask([body], Prompt((said("user", "x"),), tokens=(1, 2)))
    assert not made.tokens and not made.sampled_logprobs and made.text == "4" and why in made.route


def strict(*unknown):
    """A server that refuses these fields by name."""

    def answer(body):
        bad = [name for name in unknown if name in body]
        return error(400, f"Unrecognized request argument supplied: {bad[0]}") if bad else good()

    return answer


def test_fields_that_a_server_refuses_are_left_out_once_and_for_all_and_visibly():
    server, url = start([strict("return_token_ids", "logprobs", "seed")])
    endpoint = Endpoint(url, "m")
    prompt = Prompt((said("user", "x"),))
    [first] = asyncio.run(endpoint.sample([prompt], HOW))
    num_probes = len(server.seen)
    asyncio.run(endpoint.sample([prompt], HOW))
    assert "without return_token_ids; without logprobs; without seed" in first.route
    assert endpoint.gives_token_ids is False
    assert len(server.seen) == num_probes + 1


def test_a_server_that_refuses_without_a_word_still_answers():
    def answer(body):
        return Response(status_code=400) if "return_token_ids" in body else good()

    [made], _, endpoint = ask([answer])
    assert made.text == "4" and endpoint.gives_token_ids is False and "without return_token_ids" in made.route


def test_the_newer_name_of_the_limit_is_used_where_the_server_wants_it():
    def answer(body):
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return error(400, words) if "max_tokens" in body else good()

    [made], server, _ = ask([answer])
    assert made.text == "4" and server.seen[-1]["max_completion_tokens"] == 8


def test_a_refusal_of_the_request_itself_is_not_hidden_by_the_probe():
    server, url = start([error(400, "the context is 10 tokens")])
    endpoint = Endpoint(url, "m")
    with pytest.raises(InfrastructureError, match="context is 10"):
        asyncio.run(endpoint.sample([Prompt((said("user", "x"),))], HOW))
    server.script = [with_ids()]
    [made] = asyncio.run(endpoint.sample([Prompt((said("user", "x"),))], HOW))
    assert made.tokens == (52, 256)


def test_a_malformed_call_is_kept_as_it_was_written():
    body = good(None)
    body["choices"][0]["message"]["tool_calls"] = [
        {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"a": 1'}},
        {"id": "b", "type": "function", "function": {"name": "add", "arguments": "[1]"}},
        {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    ]
    [made], server, _ = ask([body], Prompt((said("user", "x"),), tools=(TOOL,)))
    broken, listed, read = made.message.calls
    assert broken == ToolCall("add", None, raw='{"a": 1')
    assert listed == ToolCall("add", None, raw="[1]")
    assert read.arguments == {"a": 1}
    assert made.finish == Finish.CALL
    assert server.seen[0]["tools"][0]["function"]["name"] == "add"


def test_a_conversation_with_calls_and_results_is_sent_in_the_servers_form():
    spoken = Message("assistant", (ToolCall("add", {"a": 1}),))
    told = Message("tool", (ToolResult("add", "2"),))
    _, server, _ = ask([good()], Prompt((said("user", "x"), spoken, told), tools=(TOOL,)))
    _, call, result = server.seen[0]["messages"]
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert result == {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "2"}


def test_no_more_requests_are_open_than_allowed_and_answers_keep_their_order():
    def echo(body):
        return good(body["messages"][0]["content"])

    prompts = [Prompt((said("user", str(i)),), stream=("t", i)) for i in range(20)]
    made, server, _ = ask([echo], *prompts, max_concurrent=3)
    assert [m.text for m in made] == [str(i) for i in range(20)]
    assert server.max_open <= 3
    assert len({body["seed"] for body in server.seen}) == 20


def test_the_seed_of_a_request_depends_on_the_run_and_the_stream_alone():
    def seed(how, place):
        prompts = [Prompt((said("user", str(i)),), stream=("t", i)) for i in (7, 8)]
        _, server, _ = ask([good()], prompts[place], how=how)
        return server.seen[0]["seed"]

    assert seed(HOW, 0) == seed(HOW, 0) != seed(HOW, 1)
    assert seed(HOW, 0) != seed(replace(HOW, seed=1), 0)


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-secret")
    _, server, endpoint = ask([good()], api_key_env="TEST_KEY")
    assert server.headers[0]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in to_json(endpoint) + repr(endpoint)
    with pytest.raises(InfrastructureError) as caught:
        ask([error(401, "wrong key: sk-secret")], api_key_env="TEST_KEY")
    assert "sk-secret" not in str(caught.value) and "[key]" in str(caught.value)
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(BadInput, match="export TEST_KEY"):
        ask([good()], api_key_env="TEST_KEY")


def test_an_endpoint_asked_by_ids_sends_the_ids_and_keeps_those_that_come_back():
    choice = {"index": 0, "text": "4", "finish_reason": "stop", "token_ids": [52, 256], "prompt_token_ids": [1, 2]}
    body = {"id": "c", "choices": [{**choice, "logprobs": {"token_logprobs": [-0.5, -0.25]}}]}
    [made], server, _ = ask([body], Prompt((), tokens=(1, 2)), ask=Ask.IDS)
    assert server.seen[0]["prompt"] == [1, 2] and "messages" not in server.seen[0]
    assert (made.tokens, made.sampled_logprobs, made.message) == ((52, 256), (-0.5, -0.25), None)
    with pytest.raises(BadInput, match="token ids"):
        ask([body], Prompt((said("user", "x"),)), ask=Ask.IDS)
    del body["choices"][0]["token_ids"]
    with pytest.raises(InfrastructureError, match="server gives none"):
        ask([body], Prompt((), tokens=(1, 2)), ask=Ask.IDS)


def test_a_price_without_counts_is_no_cost_of_zero():
    body = good()
    del body["usage"]
    with pytest.raises(InfrastructureError, match="usage"):
        ask([body], price_per_million=(1.0, 1.0))


@pytest.mark.parametrize("url", ["localhost:80", "http://me:pw@host/v1", "http://h/v1/chat/completions", "ftp://h"])
def test_a_url_that_is_no_base_url_is_refused_without_its_password(url):
    with pytest.raises(BadInput) as caught:
        Endpoint(url, "m")
    assert "pw" not in str(caught.value)


def test_an_endpoint_is_a_policy_and_round_trips_through_json():
    endpoint = Endpoint("https://host/v1/", "m", "judge", api_key_env="K", price_per_million=(1.0, 2.0), ask=Ask.IDS)
    assert isinstance(endpoint, Policy)
    assert from_json(to_json(endpoint)) == endpoint and endpoint.url == "https://host/v1"


def test_check_says_what_a_server_can_do():
    _, url = start([with_ids()])
    found = Endpoint(url, "m").check()
    assert found["ok"] and found["gives_token_ids"] and found["version"] == 7
