"""One request to the hub's git and the answer to it, in the words of ASGI."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from evolvent.errors import BadInput
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.repositories import check_name
from evolvent.hive.hub.spool import Receive

Send = Callable[[Any], Awaitable[None]]
READ, WRITE = "git-upload-pack", "git-receive-pack"
_TARGET = re.compile(r"/([a-z0-9-]{1,60})(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")
_PROTOCOLS = ("version=0", "version=1", "version=2")
_FRESH = ((b"cache-control", b"no-cache, max-age=0, must-revalidate"), (b"x-content-type-options", b"nosniff"))
_CHALLENGE = (b"www-authenticate", b'Basic realm="hive", charset="UTF-8"')


class Exchange:
    """What was asked, and what has been answered so far."""

    def __init__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.receive, self._scope, self._send, self._has_begun = receive, scope, send, False

    @property
    def encoding(self) -> str:
        """How the body is compressed."""
        return self._header(b"content-encoding").strip().lower()

    @property
    def protocol(self) -> str:
        """The version of git's protocol that the client asks for; anything else that it says there is not passed on."""
        said = self._header(b"git-protocol")
        return said if said in _PROTOCOLS else ""

    def read_target(self) -> tuple[str, str, bool]:
        """The repository, the service, and whether only a greeting is wanted; Refused where there is no such thing."""
        path, root = self._scope["path"], self._scope.get("root_path", "")
        found = _TARGET.fullmatch(path[len(root) :] if path.startswith(root) else path)
        if found is None:
            raise missing("page", path)
        try:
            name = check_name(found[1])
        except BadInput:
            raise missing("repository", found[1]) from None
        is_greeting = found[2] == "info/refs"
        if self._scope["method"] != ("GET" if is_greeting else "POST"):
            raise Refused(405, "this is not how git asks", got=self._scope["method"])
        service = self._read_service() if is_greeting else found[2]
        if not is_greeting and self._header(b"content-type") != f"application/x-{service}-request":
            raise Refused(415, "this is not what git sends", got=ascii(self._header(b"content-type"))[:80])
        return name, service, is_greeting

    def read_credentials(self) -> tuple[str | None, str | None]:
        """The name and the password that came along, as far as they are plain text."""
        kind, _, said = self._header(b"authorization").partition(" ")
        if kind.lower() != "basic":
            return None, None
        try:
            user, colon, password = base64.b64decode(said.strip(), validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(400, "these credentials cannot be read", wanted="Basic and base64 of NAME:KEY") from None
        if not colon or not (user + password).isprintable() or len(user + password) > 400:
            raise Refused(400, "these credentials cannot be read", wanted="NAME:KEY in plain text")
        return user, password

    async def begin(self, status: int, kind: str, *headers: tuple[bytes, bytes]) -> None:
        """Send status and headers."""
        self._has_begun = True
        rows = [(b"content-type", kind.encode()), *_FRESH, *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": rows})

    async def write(self, data: bytes, *, is_last: bool = False) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})

    async def refuse(self, status: int, words: str, retry_after_s: float | None = None) -> None:
        """Say no in plain text, which git shows; an answer that has begun stays torn, and is taken for what it is."""
        if self._has_begun:
            return
        more = [_CHALLENGE] if status == 401 else []
        if retry_after_s is not None:
            more.append((b"retry-after", b"%d" % max(1, round(retry_after_s))))
        data = f"{words}\n".encode()
        more.append((b"content-length", b"%d" % len(data)))
        await self.begin(status, "text/plain; charset=utf-8", *more)
        await self.write(data, is_last=True)

    async def wait_until_gone(self) -> None:
        """Return when the client hangs up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _read_service(self) -> str:
        asked = parse_qsl(self._scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if asked not in ([("service", READ)], [("service", WRITE)]):
            got = "nothing" if not asked else "something else"
            raise Refused(403, "only git's smart protocol is spoken here", got=got, wanted=f"service={READ}")
        return str(asked[0][1])

    def _header(self, name: bytes) -> str:
        found = [value for key, value in self._scope["headers"] if key == name]
        if len(found) > 1:
            raise Refused(400, "a header is there twice", got=name.decode())
        return found[0].decode("latin-1") if found else ""
