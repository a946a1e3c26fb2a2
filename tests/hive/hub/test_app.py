import contextlib
import json
import re
import socket
import threading
import time

import httpx
import pytest

from evolvent.dashboard import mount_pages
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.context import count_all
from evolvent.hive.hub.events import record
from evolvent.hive.hub.front import MAX_BODY_BYTES
from evolvent.serve.door import background

from .desk import Desk

LINE = re.compile(r'^[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+$')


@pytest.fixture
def whole(hub):
    """Somebody who speaks to a hub with its pages."""
    from starlette.testclient import TestClient

    app = make_app(hub)
    mount_pages(app, hub)
    with TestClient(app) as speaking:
        yield speaking


@contextlib.contextmanager
def served(hub):
    app = make_app(hub)
    with background(app) as url:
        yield app, url


def happen(hub, kind="task", **data):
    with hub.database.write() as connection:
        record(connection, kind, data=data)


def events_of(lines, num):
    """So many events of a stream, each as its fields."""
    found, one = [], {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            one[name] = value
        elif one:
            found.append(one)
            one = {}
        if len(found) == num:
            break
    return found


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api", "/api/", "/api/tasks/none", "/api/tasks//runs", "/api/tasks/"]
)
def test_below_api_what_is_not_there_is_said_in_json(whole, path):
    response = whole.get(path, follow_redirects=True)
    assert response.status_code in (404, 200 if path == "/api/tasks/" else 404)
    assert response.headers["content-type"] == "application/json"
    assert path == "/api/tasks/" or set(response.json()) == {"detail"}


def test_elsewhere_what_is_not_there_is_a_page(whole):
    response = whole.get("/nowhere", headers={"Accept": "text/html"})
    assert response.status_code == 404 and response.headers["content-type"].startswith("text/html")
    assert "<html" in response.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/api/tasks"), ("POST", "/api/stats"), ("DELETE", "/api/register"), ("TRACE", "/api/stats")],
)
def test_another_method_is_said_with_those_that_are_right(whole, method, path):
    response = whole.request(method, path)
    assert response.status_code == 405 and response.json()["detail"] and response.headers["allow"]


@pytest.mark.parametrize("path", ["/health", "/api/health", "/api/tasks", "/api/stats", "/"])
def test_head_is_get_without_a_body(whole, path):
    head, got = whole.head(path), whole.get(path)
    assert (head.status_code, head.content) == (200, b"") and got.content
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers["content-type"] == got.headers["content-type"]


def test_pages_of_other_sites_read_nothing_here(whole):
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for response in (whole.get("/api/tasks", headers=asked), whole.options("/api/register", headers=asked)):
        assert not [name for name in response.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks/a%00b",
        "/api/tasks?q=%00",
        "/api/tasks/%00/runs",
        "/api/activity?task=%00",
        "/%00",
        "/api/tasks/%ff%fe",
    ],
)
def test_bytes_that_no_text_has_are_refused(whole, path):
    response = whole.get(path)
    assert response.status_code in (400, 404, 422), response.text
    if path.startswith("/api"):
        assert set(response.json()) == {"detail"}


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff", b'{"preferred_name": 3}', b'{"preferred_name": "a\\u0000"}']
)
def test_a_body_of_another_shape_is_said_in_one_line(whole, body):
    response = whole.post("/api/register", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert set(response.json()) == {"detail"} and isinstance(response.json()["detail"], str)


def test_a_body_that_is_too_large_is_refused_announced_or_not(hub):
    with served(hub) as (_, url), httpx.Client(base_url=url, timeout=30) as client:
        huge = b'{"preferred_name": "' + b"a" * MAX_BODY_BYTES + b'"}'
        said = {"Content-Type": "application/json"}
        announced = client.post("/api/register", content=huge, headers=said)
        assert announced.status_code == 413 and set(announced.json()) == {"detail"}
        with contextlib.suppress(httpx.TransportError):  # a server may hang up on it too
            in_parts = client.post("/api/register", content=iter([huge]), headers=said)
            assert in_parts.status_code in (400, 413)
        assert client.get("/api/agents").json()["agents"] == []
        assert announced.headers["x-content-type-options"] == "nosniff"


def test_who_asks_too_often_hears_when_to_come_back(whole):
    answers = [whole.post("/api/register/batch", json={"count": 50}) for _ in range(20)]
    refused = [one for one in answers if one.status_code == 429]
    assert refused and int(refused[0].headers["retry-after"]) > 0
    assert set(refused[0].json()) == {"detail"}


def test_a_wrong_key_is_told_how_one_signs_in(whole):
    response = whole.get("/api/auth/me", headers={"Authorization": "Bearer hive_wrong"})
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert "hive_wrong" not in response.text


def test_health_answers_while_somebody_writes(hub, whole):
    answers = []

    def ask():
        answers.extend(whole.get(path).status_code for path in ("/health", "/api/health", "/api/metrics", "/api/tasks"))

    with hub.database.write():
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(10)
        assert not asking.is_alive(), "it waits for the lock"
    assert answers == [200] * 4


def test_metrics_are_what_prometheus_reads(whole):
    whole.get("/api/tasks")
    whole.get("/api/nothing")
    response = whole.get("/api/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert response.text.endswith("\n")
    values, kinds = {}, {}
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds, f"{name} is declared twice"
            kinds[name] = kind
        else:
            assert LINE.match(line), line
            name, _, value = line.rpartition(" ")
            assert name not in values, f"{name} is there twice"
            values[name] = float(value)
    families = {re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name) for name in values}
    assert families <= {re.sub(r"(_bucket|_sum|_count)?$", "", name) for name in kinds}
    buckets = [value for name, value in values.items() if name.startswith("hive_request_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == values["hive_request_seconds_count"]
    assert values['hive_requests_total{method="GET",status="404"}'] == 1


def test_a_stream_goes_on_after_the_last_event_that_was_heard(hub):
    for i in range(5):
        happen(hub, number=i)
    with served(hub) as (_, url), httpx.Client(timeout=20) as client:
        with client.stream("GET", f"{url}/api/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            first = events_of(stream.iter_lines(), 3)
        with client.stream("GET", f"{url}/api/events", headers={"Last-Event-ID": first[-1]["id"]}) as stream:
            lines = stream.iter_lines()
            rest = events_of(lines, 2)
            happen(hub, number=5)
            rest += events_of(lines, 1)
    numbers = [json.loads(one["data"])["data"]["number"] for one in first + rest]
    assert numbers == [0, 1, 2, 3, 4, 5]
    assert [int(one["id"]) for one in first + rest] == sorted({int(one["id"]) for one in first + rest})


@pytest.mark.parametrize("odd", ["x", "-1", "9" * 30, "１"])
def test_a_last_event_that_is_no_number_is_not_believed(hub, odd):
    happen(hub)
    with served(hub) as (_, url):
        headers = {"Last-Event-ID": odd.encode()}
        with httpx.stream("GET", f"{url}/api/events", headers=headers, timeout=20) as stream:
            assert stream.status_code == 200 and len(events_of(stream.iter_lines(), 1)) == 1


def open_stream(port):
    """A listener, without a thread of its own."""
    listener = socket.create_connection(("127.0.0.1", port))
    listener.sendall(b"GET /api/events HTTP/1.1\r\nHost: hub\r\n\r\n")
    listener.settimeout(30)
    assert listener.recv(12) == b"HTTP/1.1 200"
    return listener


def test_many_listeners_starve_nobody_and_leave_nothing_when_they_go(hub):
    happen(hub)
    with served(hub) as (app, url), httpx.Client(base_url=url, timeout=20) as client:
        client.get("/api/stats")
        num_threads = threading.active_count()
        listeners = [open_stream(int(url.rpartition(":")[2])) for _ in range(200)]
        assert client.get("/api/stats").status_code == 200
        assert client.post("/api/register", json={}).status_code == 201
        assert threading.active_count() < num_threads + 60, "a thread for each listener"
        assert len(app.state.streams) == 200
        one_more = client.get("/api/events")
        assert one_more.status_code == 503 and int(one_more.headers["retry-after"]) > 0
        for listener in listeners:
            listener.close()
        until = time.monotonic() + 30
        while app.state.streams and time.monotonic() < until:
            time.sleep(0.05)
        assert not app.state.streams, "streams go on for listeners that are gone"


def test_streams_end_with_the_server(hub):
    with served(hub) as (_, url):
        stack = contextlib.ExitStack()
        stream = stack.enter_context(httpx.stream("GET", f"{url}/api/events", timeout=20))
        lines = stream.iter_lines()
        assert next(lines) == ": hello"
    assert list(lines) == [""]
    stack.close()


def test_the_hub_itself_is_none_of_its_agents(hub, tmp_path):
    desk = Desk(hub, tmp_path, "ann", "bob")
    desk.enter("ann", "one")
    with hub.database.read() as connection:
        counted = count_all(connection)
    assert counted == {"total_agents": 2, "total_tasks": 1, "total_runs": 2, "total_posts": 2}
