"""Calls a hub over HTTP: comes again where that is safe, and turns what went wrong into an error that says a cure."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.hub.refusals import Refused

PATIENCE_S = 20.0  # for all tries of one call together
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 5.0
BUSY = (429, 503)  # the hub has done nothing, and says so
LOST = (502, 504)  # somebody between here and the hub; nobody knows what was done
NOWHERE = ("Not Found", "status 404 without a reason")  # not in the words of a hub, which says what is not there
MAX_DETAIL = 2000


@dataclass(frozen=True)
class Call:
    """One request: `is_idempotent` where it may arrive twice and do no harm."""

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    files: Any = None
    data: Mapping[str, str] | None = None
    is_idempotent: bool = False


class Calls:
    """A line to one hub. Its secrets go into headers, and nowhere else: no error, log or repr shows them."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float = 30.0,
        patience_s: float = PATIENCE_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url, self.patience_s = read_url(url), patience_s
        self._http = httpx.Client(
            base_url=f"{self.url}/api",
            headers={name: _check_secret(value, name) for name, value in headers.items()},
            timeout=timeout_s,
            transport=transport,
            follow_redirects=False,  # a token goes to the hub that it belongs to
            trust_env=not _is_loopback(self.url),  # no proxy knows the way to this very machine
        )

    def __repr__(self) -> str:
        return f"Calls({self.url!r})"

    def ask(self, call: Call) -> Any:
        """The answer as JSON; Refused for what the hub refuses, InfrastructureError where there is no answer."""
        until, pause_s = time.monotonic() + self.patience_s, FIRST_PAUSE_S
        while True:
            again, wait_s = self._try(call)
            if isinstance(again, httpx.Response):
                return read_answer(again, self.url)
            wait_s = max(pause_s, wait_s or 0.0)
            if wait_s > until - time.monotonic():
                raise again
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _try(self, call: Call) -> tuple[httpx.Response | Exception, float | None]:
        """A final answer; or an error with which it may be tried again, and after how long."""
        try:
            answer = self._http.request(
                call.method, call.path, params=_clean(call.params), json=call.json, files=call.files, data=call.data
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # nothing has arrived
            return self._away(error), None
        except httpx.HTTPError as error:
            if not call.is_idempotent:
                raise self._away(error) from None
            return self._away(error), None
        if answer.status_code in BUSY or (answer.status_code in LOST and call.is_idempotent):
            return read_error(answer, self.url), read_seconds(answer.headers.get("Retry-After"))
        return answer, None

    def _away(self, error: Exception) -> InfrastructureError:
        got = f"{type(error).__name__}: {error}"[:200]
        cure = "see whether it runs: evolvent hive serve"
        return InfrastructureError("the hub does not answer", where=self.url, got=got, cure=cure)

    @contextmanager
    def stream(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Iterator[str]]:
        """The lines of an answer that does not end by itself."""
        try:
            with self._http.stream(
                "GET", path, params=_clean(params), timeout=httpx.Timeout(30.0, read=None)
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise read_error(answer, self.url)
                yield answer.iter_lines()
        except httpx.HTTPError as error:
            raise self._away(error) from None

    def close(self) -> None:
        """Hang up."""
        self._http.close()


def read_url(url: str) -> str:
    """The address of a hub without what comes below it; BadInput for what is none, or holds a password."""
    wanted = "such as http://127.0.0.1:8000"
    at = urlsplit(url.strip())
    if at.scheme not in ("http", "https") or not at.hostname or any(not " " < c < "\x7f" for c in url.strip()):
        raise BadInput("this is no address of a hub", where="hub", got=ascii(url)[:80], wanted=wanted)
    if at.username is not None or at.password is not None:
        raise BadInput("the address of a hub holds no password", where="hub", got=at.hostname, wanted=wanted)
    return urlunsplit((at.scheme, at.netloc, at.path.rstrip("/").removesuffix("/api"), "", "")).rstrip("/")


def read_answer(answer: httpx.Response, url: str) -> Any:
    """The JSON of an answer, None of an empty one; the hub's own words where it refused."""
    if answer.status_code >= 400 or answer.is_redirect:
        raise read_error(answer, url)
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        got = answer.text[:80]
        cure = "is this the address of a hub?"
        raise InfrastructureError("the answer is no JSON", where=url, got=ascii(got), cure=cure) from None


def read_error(answer: httpx.Response, url: str) -> Refused | InfrastructureError:
    """What a hub said, as an error: 4xx is the caller's, the rest the hub's."""
    try:
        said = answer.json()
        detail = str(said["detail"] if isinstance(said, dict) and "detail" in said else said)[:MAX_DETAIL]
    except ValueError:
        detail = f"status {answer.status_code} without a reason"
    if answer.status_code == 404 and detail in NOWHERE:
        detail = (
            f"nothing is here\n  where:  {url}\n  wanted: hub=http://HOST:PORT\n  cure:   is this the address of a hub?"
        )
    if 400 <= answer.status_code < 500:
        wait_s = read_seconds(answer.headers.get("Retry-After"))
        return Refused(answer.status_code, detail, retry_after_s=wait_s)
    return InfrastructureError(detail, where=url, got=f"status {answer.status_code}")


def read_seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; None where there is none, or it is a date."""
    return float(text) if text is not None and text.isdecimal() else None


def _clean(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _check_secret(value: str, name: str) -> str:
    """The secret itself; BadInput, which does not show it, for what no header can carry."""
    if not value or value != value.strip() or any(not " " <= char < "\x7f" for char in value):
        raise BadInput(
            "this is no token", where=name, wanted="printable ASCII", cure="copy it again, without line breaks"
        )
    return value


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
