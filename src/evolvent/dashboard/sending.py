"""Sends pages: with headers that let nothing but our own files run, in the colours that were chosen, errors as well."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from evolvent.dashboard.assets import serve_asset
from evolvent.dashboard.paper import render
from evolvent.errors import BadInput
from evolvent.hive.hub.refusals import Refused, missing

Said = dict[str, Any]

POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Cookie",
}
TITLES = {403: "Not allowed", 404: "Not here", 405: "Not this way", 429: "Too many at once", 503: "Not now"}
THEMES = ("light", "dark")
OURS = re.compile(r"/(?!api(?:/|$)|git(?:/|$)|health$|openapi\.json$)")
A_YEAR_S = 365 * 86400


def send_page(request: Request, template: str, said: Said, status: int = 200) -> Response:
    """A page as an answer."""
    return HTMLResponse(encode_page(render(template, read_asked(request) | said)), status_code=status, headers=HEADERS)


def read_asked(request: Request) -> Said:
    """What every page depends on beside what it says: where it is, and the colours that were chosen."""
    theme = request.cookies.get("theme", "")
    return {"path": request.url.path, "theme": theme if theme in THEMES else ""}


def encode_page(page: str) -> bytes:
    """A page as bytes; half a character has none."""
    return page.encode("utf-8", "replace")


def answer_with_pages(app: FastAPI, kind: type[Exception]) -> None:
    """Errors of our own paths become pages; those of all others are answered as before."""
    before: Any = app.exception_handlers.get(kind)

    async def answer(request: Request, error: Exception) -> Response:
        if not OURS.match(request.url.path) and before is not None:
            response: Response = await before(request, error)
            return response
        status, detail = _read_error(error)
        said = {"status": status, "title": TITLES.get(status, "This did not work"), "detail": detail, "here": ""}
        response = send_page(request, "error.html", said, status)
        if isinstance(error, Refused) and error.retry_after_s is not None:
            response.headers["Retry-After"] = str(int(error.retry_after_s) + 1)
        return response

    app.add_exception_handler(kind, answer)


def _read_error(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, DBAPIError):
        return 503, "the database of the hub does not answer; try again"
    return getattr(error, "status", 400 if isinstance(error, BadInput) else 503), str(error)


def static(mark: str, name: str) -> Response:
    """A file of the pages."""
    found = serve_asset(mark, name)
    if found is None:
        raise missing("file", name)
    return found


def choose_theme(theme: str = Form("auto"), back: str = Form("/")) -> Response:
    """Remember dark or light in a cookie, and go back to a page of this hub and to no other."""
    is_ours = OURS.match(back) and not re.match(r"/[/\\]", back) and back.isprintable()
    answer = RedirectResponse(back if is_ours else "/", status_code=303, headers=HEADERS)
    if theme in THEMES:
        answer.set_cookie("theme", theme, max_age=A_YEAR_S, httponly=True, samesite="lax")
    else:
        answer.delete_cookie("theme")
    return answer
