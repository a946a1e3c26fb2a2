"""Serves the files of the pages under addresses with a hash in them, so that a browser may keep them for a year."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from fastapi import Response

HOME = Path(__file__).parent / "static"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOREVER, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"


def asset(name: str) -> str:
    """The address of a file: another one as soon as its content is another."""
    return f"/static/{fingerprint(name)}/{name}"


def fingerprint(name: str) -> str:
    """The first digits of the SHA-256 of a file."""
    return hashlib.sha256(_files()[name]).hexdigest()[:16]


def serve_asset(mark: str, name: str) -> Response | None:
    """The answer with a file; None where there is none of this name. An old address is answered, and not kept."""
    if name not in _files():
        return None
    keep = FOREVER if mark == fingerprint(name) else ASK_AGAIN
    headers = {"Cache-Control": keep, "X-Content-Type-Options": "nosniff"}
    return Response(_files()[name], media_type=KINDS[Path(name).suffix], headers=headers)


@functools.cache
def _files() -> dict[str, bytes]:
    """Read once: a path from outside only ever looks up a name here."""
    found = (path for path in HOME.rglob("*") if path.suffix in KINDS)
    return {path.relative_to(HOME).as_posix(): path.read_bytes() for path in sorted(found)}
