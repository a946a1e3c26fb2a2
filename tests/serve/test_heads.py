import socket
import time
from urllib.parse import urlsplit

import pytest

from evolvent.serve import heads
from evolvent.serve.door import background


async def app(scope, receive, send):
    """Answers whatever is asked."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def url():
    pytest.importorskip("httptools")
    with background(app) as at:
        yield at


def speak(url, *parts):
    """Everything that is answered until the server hangs up or is silent, and how much could be sent."""
    at, sent, said = urlsplit(url), 0, b""
    with socket.create_connection((at.hostname, at.port), timeout=5) as line:
        try:
            for part in parts:
                line.sendall(part)
                sent += len(part)
            line.settimeout(1.0)
            while data := line.recv(65536):
                said += data
        except OSError:
            pass
    return said, sent


START = b"GET / HTTP/1.1\r\nHost: here\r\n"


@pytest.mark.parametrize(
    "flood",
    [
        [b"X: " + b"a" * 2**20] * 64,
        [b"X-%d: %s\r\n" % (i, b"a" * 2**16) for i in range(512)],
    ],
    ids=["one header", "many headers"],
)
def test_headers_without_end_are_not_read(url, flood):
    said, sent = speak(url, START, *flood, b"\r\n\r\n")
    assert b"200 OK" not in said, "a head of many megabytes was taken"
    assert sent < 32 * 2**20, "and all of it was read"


def test_an_address_without_end_is_not_read(url):
    assert b"200 OK" not in speak(url, b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: here\r\n\r\n")[0]


def test_large_bodies_and_many_requests_on_one_line_are_none_of_its_business(url):
    body = b"x" * 2**20
    one = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert speak(url, one)[0].count(b"200 OK") == 1
    assert speak(url, *[START + b"X: " + b"a" * 30_000 + b"\r\n\r\n"] * 8)[0].count(b"200 OK") == 8


@pytest.mark.parametrize(
    "start", [b"", b"GET / HT", START + b"X: a", START + b"\r\n" + START], ids=["", "line", "header", "second"]
)
def test_who_never_ends_a_head_is_hung_up_on(monkeypatch, start):
    pytest.importorskip("httptools")
    monkeypatch.setattr(heads, "HEAD_S", 0.3)
    with background(app) as url:
        at = urlsplit(url)
        with socket.create_connection((at.hostname, at.port), timeout=4.0) as line:
            line.sendall(start)
            while line.recv(65536):
                pass


def test_who_answers_slowly_is_waited_for(monkeypatch):
    pytest.importorskip("httptools")
    monkeypatch.setattr(heads, "HEAD_S", 0.2)
    with background(app) as url:
        at = urlsplit(url)
        with socket.create_connection((at.hostname, at.port), timeout=4.0) as line:
            line.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\n")
            time.sleep(0.5)
            line.sendall(b"body")
            assert b"200 OK" in line.recv(65536)
