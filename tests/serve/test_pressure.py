"""Many clients, clients that leave, clients that may not come in, and bodies that make no sense."""

import asyncio
import contextlib
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from evolvent.errors import BadInput
from evolvent.policies.scripted import Fixed
from evolvent.serve import PolicyDesk, Where, background, make_app
from reciter import RENDERER, until

END = RENDERER.added["<|end|>"]


def body(words="q", **fields):
    return {"model": "r", "messages": [{"role": "user", "content": words}], **fields}


def test_fifty_clients_at_once_get_their_own_answers(door, ask):
    def one(number):
        rng = random.Random(number)
        time.sleep(rng.random() * 0.2)
        words = {"model": "small", "messages": [{"role": "user", "content": f"I am client {number}:"}]}
        how = {"max_tokens": rng.randint(1, 40), "seed": number, "temperature": rng.choice([0, 0.7, 1.0])}
        return httpx.post(f"{door}/v1/chat/completions", json={**words, **how, "return_token_ids": True}, timeout=60)

    with ThreadPoolExecutor(50) as pool:
        replies = [reply.json() for reply in pool.map(one, range(50))]
    assert len({reply["id"] for reply in replies}) == 50
    for number, reply in enumerate(replies):
        assert f"I am client {number}:".encode() in bytes(t for t in reply["prompt_token_ids"] if t < 256)
    alone = one(33).json()
    assert alone["choices"][0]["token_ids"] == replies[33]["choices"][0]["token_ids"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_row_and_nobody_else_notices(recited, stream):
    policy = recited.policy
    policy.says |= {"long": tuple(b"x" * 3000), "short": (*b"done", END)}
    policy.pause_s = 0.002

    async def leave():
        async with httpx.AsyncClient(base_url=recited.url, timeout=60) as client:
            asking = asyncio.create_task(
                client.post("/v1/chat/completions", json=body("long", stream=stream, max_tokens=3000))
            )
            await asyncio.to_thread(until, lambda: policy.steps > 5)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(leave())
    until(lambda: not policy.live)
    assert policy.steps < 1500
    answer = recited.chat.completions.create(**body("short"))
    assert answer.choices[0].message.content == "done"


def test_a_client_that_leaves_a_flow_frees_its_row(door, opinionated):
    def waits():
        return float(metric(door, 'evolvent_requests_total{route="chat",status="499"}') or 0)

    before = waits()
    words = {"model": "small", "messages": [{"role": "user", "content": "x"}], "max_tokens": 480, "n": 8}
    for timeout_s in (0.15, 0.25):
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{door}/v1/chat/completions", json=words, timeout=timeout_s)
    until(lambda: waits() >= before + 1)
    start = time.monotonic()
    httpx.post(f"{door}/v1/chat/completions", json={**words, "max_tokens": 2, "n": 1}, timeout=60).raise_for_status()
    assert time.monotonic() - start < 20


def test_a_full_queue_says_when_to_come_back_and_serves_those_it_has(recited):
    policy = recited.policy
    policy.says["q"] = (*b"ok", END)
    policy.may_speak.clear()
    url = f"{recited.url}/v1/chat/completions"
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(httpx.post, url, json=body(), timeout=60)
        until(lambda: recited.desk.queue.num_waiting == 0 and recited.desk.queue._is_at_work)
        waiting = [pool.submit(httpx.post, url, json=body(n=2), timeout=60) for _ in range(2)]
        until(lambda: recited.desk.queue.num_waiting == 4)
        refused = httpx.post(url, json=body(), timeout=60)
        streamed = httpx.post(url, json=body(stream=True), timeout=60)
        policy.may_speak.set()
        assert [f.result().status_code for f in (first, *waiting)] == [200, 200, 200]
    for reply in (refused, streamed):
        assert reply.status_code == 429 and int(reply.headers["retry-after"]) >= 1
        assert reply.json()["error"]["code"] == "queue_full"
    with pytest.raises(openai.RateLimitError):
        policy.may_speak.clear()
        with ThreadPoolExecutor(8) as pool:
            held = [pool.submit(httpx.post, url, json=body(n=2), timeout=60)]
            # two that come in the same moment would be answered together
            until(lambda: recited.desk.queue.num_waiting == 0 and recited.desk.queue._is_at_work)
            held += [pool.submit(httpx.post, url, json=body(n=2), timeout=60) for _ in range(2)]
            until(lambda: recited.desk.queue.num_waiting == 4)
            try:
                recited.chat.completions.create(**body())
            finally:
                policy.may_speak.set()
                assert {f.result().status_code for f in held} == {200}


def test_a_request_larger_than_the_queue_is_served_when_nobody_waits(recited):
    recited.policy.says["q"] = (*b"ok", END)
    assert len(recited.chat.completions.create(**body(n=9)).choices) == 9


def test_a_function_runs_alone_between_requests(recited):
    policy, queue = recited.policy, recited.desk.queue
    policy.says["q"] = (*b"ok", END)
    policy.may_speak.clear()
    seen = []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(recited.chat.completions.create, **body())
        until(lambda: queue._is_at_work)
        ran = queue.submit(lambda: seen.append((policy.live, policy.steps)) or 7)
        second = pool.submit(recited.chat.completions.create, **body())
        assert not ran.done()
        policy.may_speak.set()
        assert first.result() and second.result()
    assert ran.result(20) == 7 and seen[0][0] == ()


# ---------------------------------------------------------------- who may come in


@pytest.fixture(scope="module")
def locked():
    desk = PolicyDesk(Fixed("hi"), None, "r")
    with background(make_app(desk, key="a secret")) as url:
        yield url


def test_without_the_key_nothing_but_health_is_told(locked):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "a secret"},
        {"Authorization": "Basic eA=="},
    ):
        for path in ("/v1/models", "/metrics", "/sessions/s/v1/models", "/nothing"):
            reply = httpx.get(locked + path, headers=headers)
            assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key"
        assert httpx.post(f"{locked}/v1/chat/completions", json=body(), headers=headers).status_code == 401
    assert httpx.get(f"{locked}/health").status_code == 200
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{locked}/v1", api_key="guess", max_retries=0).models.list()


def test_with_the_key_everything_is(locked):
    client = openai.OpenAI(base_url=f"{locked}/v1", api_key="a secret", max_retries=0)
    assert client.chat.completions.create(**body()).choices[0].message.content == "hi"
    assert httpx.get(f"{locked}/metrics", headers={"Authorization": "bearer a secret"}).status_code == 200


def test_pages_of_other_sites_reach_nothing_on_loopback(door):
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        assert httpx.get(f"{door}/v1/models", headers=headers).status_code == 403
    assert httpx.get(f"{door}/v1/models", headers={"Origin": "http://localhost:3000"}).status_code == 200


def test_another_host_needs_a_key():
    with pytest.raises(BadInput, match="key_env"):
        Where(host="0.0.0.0")
    assert "secret" not in repr(Where(host="0.0.0.0", key="secret"))


# ---------------------------------------------------------------- bodies that make no sense


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'"x"', b'{"model": NaN}', b"[1]"]
)
def test_malformed_bodies_are_the_clients_mistake(door, path, content):
    reply = httpx.post(door + path, content=content)
    assert reply.status_code == 400 and reply.json()["error"]["type"] == "invalid_request_error"


def test_a_body_beyond_the_limit_is_refused_whether_its_length_is_told_or_not():
    with background(make_app(PolicyDesk(Fixed("hi"), None, "r"), max_body_bytes=1000)) as url:
        told = httpx.post(f"{url}/v1/chat/completions", json=body("x" * 2000))
        untold = httpx.post(f"{url}/v1/chat/completions", content=(b"x" * 100 for _ in range(30)))
        assert [told.status_code, untold.status_code] == [413, 413]
        assert "1000 bytes" in told.json()["error"]["message"] and "1000 bytes" in untold.json()["error"]["message"]
        assert httpx.post(f"{url}/v1/chat/completions", json=body()).status_code == 200


def test_half_a_request_and_silence_hold_nobody_up(recited):
    recited.policy.says["q"] = (*b"ok", END)
    host, port = recited.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{")
        assert recited.chat.completions.create(**body()).choices[0].message.content == "ok"
    assert recited.chat.completions.create(**body()).choices[0].message.content == "ok"


def test_sessions_of_a_desk_without_any_are_refused_and_two_names_are_a_contradiction(door):
    words = {"model": "small", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    for path, headers in (
        ("/sessions/a/v1/chat/completions", {}),
        ("/v1/chat/completions", {"X-Evolvent-Session": "a"}),
    ):
        reply = httpx.post(door + path, json=words, headers=headers)
        assert reply.status_code == 400 and "no sessions" in reply.json()["error"]["message"]
    both = httpx.post(f"{door}/sessions/a/v1/chat/completions", json=words, headers={"X-Evolvent-Session": "b"})
    assert both.json()["error"]["param"] == "X-Evolvent-Session"


def test_a_server_that_ends_while_the_policy_speaks_ends_and_says_so(recited, caplog):
    recited.policy.says["q"] = tuple(b"x" * 400)
    recited.policy.pause_s = 0.02
    desk = PolicyDesk(recited.policy, RENDERER, "r")
    with background(make_app(desk)) as url:

        def ask_in_vain():
            with contextlib.suppress(httpx.HTTPError):
                statuses.append(httpx.post(f"{url}/v1/chat/completions", json=body(max_tokens=400)).status_code)

        statuses = []
        thread = threading.Thread(target=ask_in_vain)
        thread.start()
        until(lambda: recited.policy.steps > 2)
    thread.join(20)
    assert not thread.is_alive() and statuses in ([503], [])
    assert not [record for record in caplog.records if record.exc_info]
    until(lambda: not recited.policy.live)


def metric(url, name):
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return next((line.split()[-1] for line in lines if line.startswith(name + " ")), None)
