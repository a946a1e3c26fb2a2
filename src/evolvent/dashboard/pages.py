"""The pages of a hub as routes: each reads what it says, and is rendered and sent."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from evolvent.dashboard.paper import render
from evolvent.dashboard.reading import read_agent, read_agents, read_home, read_live, read_rows, read_search
from evolvent.dashboard.run_reading import read_change, read_run
from evolvent.dashboard.sending import (
    HEADERS,
    Said,
    answer_with_pages,
    choose_theme,
    encode_page,
    read_asked,
    send_page,
    static,
)
from evolvent.dashboard.task_reading import (
    read_board,
    read_feed,
    read_graph,
    read_items,
    read_one_item,
    read_runs,
    read_single,
    read_skills,
)
from evolvent.errors import BadInput, InfrastructureError, StoreError
from evolvent.hive.hub.answers import Answer
from evolvent.hive.hub.asking import address_of
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.search import Query as Words
from evolvent.hive.hub.tasks import take_version
from evolvent.hive.hub.times import later

MAX_PAGE, MAX_SEARCH = 100_000, 20
KEPT_S = 20.0  # ages and claims on a page go on while nothing happens


def mount_pages(app: FastAPI, hub: Hub) -> None:
    """Add the pages of a hub to its app; what is not found outside of /api, /git and /health is a page too."""
    router = APIRouter(include_in_schema=False)
    pages = Pages(hub)
    for path, show in pages.routes().items():
        router.add_api_route(path, show, methods=["GET", "HEAD"], response_class=HTMLResponse)
    router.add_api_route("/static/{mark}/{name:path}", static, methods=["GET", "HEAD"])
    router.add_api_route("/theme", choose_theme, methods=["POST"])
    app.include_router(router)
    for kind in (HTTPException, BadInput, InfrastructureError, StoreError, DBAPIError):
        answer_with_pages(app, kind)


class Pages:
    """One method for each page; `hub` is what they read."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def routes(self) -> dict[str, Callable[..., Response]]:
        """Pages by path; parts of them, which a script asks for, below the page."""
        return {
            "/": self.home,
            "/tasks": self.home,
            "/tasks/{task_id}": self.task,
            "/tasks/{task_id}/top": self.top,
            "/tasks/{task_id}/board": self.board,
            "/tasks/{task_id}/graph": self.graph,
            "/tasks/{task_id}/runs": self.runs,
            "/tasks/{task_id}/runs/{sha}": self.run,
            "/tasks/{task_id}/feed": self.feed,
            "/tasks/{task_id}/feed/{number}": self.post,
            "/tasks/{task_id}/skills": self.skills,
            "/tasks/{task_id}/items": self.items,
            "/tasks/{task_id}/items/{name}": self.item,
            "/agents": self.agents,
            "/agents/{name}": self.agent,
            "/live": self.live,
            "/live/rows": self.rows,
            "/search": self.search,
        }

    def home(self, request: Request, page: str = "1") -> Response:
        """All tasks."""
        return self._show(request, "home.html", lambda c: read_home(c, _page(page)) | {"here": "Tasks"})

    def task(self, request: Request, task_id: str) -> Response:
        """One task: chart, leaderboard, claims, program, what happens."""
        return self._keep(
            request,
            "task.html",
            task_id,
            lambda c: read_board(self.hub, c, task_id) | read_live(c, task_id) | {"here": "Tasks"},
        )

    def top(self, request: Request, task_id: str) -> Response:
        """The upper part of that page which changes."""
        return self._keep(request, "top.html", task_id, lambda c: read_board(self.hub, c, task_id))

    def board(self, request: Request, task_id: str) -> Response:
        """The lower part of it."""
        return self._keep(request, "board.html", task_id, lambda c: read_board(self.hub, c, task_id))

    def graph(self, request: Request, task_id: str, by: str = "time", size: str = "fit") -> Response:
        """Who built on whom."""
        across, is_wide = ("depth" if by == "depth" else "time"), size == "wide"
        shape = f"graph.html {across} {is_wide}"
        return self._keep(
            request, shape, task_id, lambda c: read_graph(c, task_id, across, is_wide) | {"here": "Tasks"}
        )

    def runs(self, request: Request, task_id: str, sort: str = "recent", agent: str = "", page: str = "1") -> Response:
        """All runs of a task, or those of one agent."""
        order, rest = ("score" if sort == "score" else "recent"), _rest(sort=sort, agent=agent)
        return self._show(
            request,
            "runs.html",
            lambda c: read_runs(c, task_id, order, agent[:80], _page(page)) | {"here": "Tasks", "more": rest},
        )

    def run(self, request: Request, task_id: str, sha: str) -> Response:
        """One run."""
        with self.hub.database.read() as connection:
            said = read_run(connection, task_id, sha) | {"here": "Tasks"}
        return send_page(request, "run.html", said | read_change(self.hub, said))

    def feed(self, request: Request, task_id: str, page: str = "1") -> Response:
        """What agents wrote on a task."""
        return self._show(request, "feed.html", lambda c: read_feed(c, task_id, _page(page)) | {"here": "Tasks"})

    def post(self, request: Request, task_id: str, number: str, page: str = "1") -> Response:
        """One post and its threads."""
        wanted = int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0
        return self._show(
            request, "feed.html", lambda c: read_single(c, task_id, wanted, _page(page)) | {"here": "Tasks"}
        )

    def skills(self, request: Request, task_id: str, page: str = "1") -> Response:
        """What agents found worth using again."""
        return self._show(request, "skills.html", lambda c: read_skills(c, task_id, _page(page)) | {"here": "Tasks"})

    def items(self, request: Request, task_id: str) -> Response:
        """The board of work."""
        return self._show(request, "items.html", lambda c: read_items(c, task_id) | {"here": "Tasks"})

    def item(self, request: Request, task_id: str, name: str) -> Response:
        """One item of it."""
        return self._show(request, "item.html", lambda c: read_one_item(c, task_id, name[:40]) | {"here": "Tasks"})

    def agents(self, request: Request, page: str = "1") -> Response:
        """Who is here."""
        return self._show(request, "agents.html", lambda c: read_agents(c, _page(page)) | {"here": "Agents"})

    def agent(self, request: Request, name: str) -> Response:
        """One agent."""
        return self._show(request, "agent.html", lambda c: read_agent(c, name[:80]) | {"here": "Agents"})

    def live(self, request: Request) -> Response:
        """What happens on the whole hub."""
        return self._show(request, "live.html", lambda c: read_live(c) | {"here": "Live"})

    def rows(self, request: Request, task: str = "", after: str = "0") -> Response:
        """What happened since, as rows for a list that is there already."""
        since = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0
        return self._show(
            request, "rows.html", lambda c: {"activity": read_rows(c, since, task[:40] or None), "task": task}
        )

    def search(
        self,
        request: Request,
        q: str = Query(""),
        task: str = Query(""),
        type: str = Query(""),
        page: str = "1",
    ) -> Response:
        """What agents wrote that has these words."""
        self.hub.limits.spend("search", address_of(request))
        words = Words(
            words=q[:300].strip() or None, kind=type if type in ("post", "result", "skill", "claim") else None
        )
        rest = _rest(q=q, task=task, type=type)
        asked = {"q": q[:300], "task_id": task, "type": type, "here": "Search", "more": rest}
        return self._show(
            request, "search.html", lambda c: read_search(c, words, task[:40], min(_page(page), MAX_SEARCH)) | asked
        )

    def _show(self, request: Request, template: str, read: Callable[[Connection], Said]) -> Response:
        with self.hub.database.read() as connection:
            said = read(connection)
        return send_page(request, template, said)

    def _keep(self, request: Request, shape: str, task_id: str, read: Callable[[Connection], Said]) -> Response:
        """The same, made once for as long as nothing happens on the task: many may look at it at once."""
        template, asked = shape.split(" ", maxsplit=1)[0], read_asked(request)
        with self.hub.database.read() as connection:
            version = take_version(connection, task_id)[0]
            body = self.hub.answers.find(
                (shape, task_id, asked["theme"]),
                version,
                lambda: Answer(encode_page(render(template, asked | read(connection))), later(KEPT_S)),
            )
        return HTMLResponse(body, headers=HEADERS)


def _page(said: str) -> int:
    return min(int(said), MAX_PAGE) if said.isascii() and said.isdecimal() and len(said) < 9 and int(said) else 1


def _rest(**asked: str) -> str:
    """The rest of an address, for links to other pages of a list."""
    return "".join(f"&{name}={quote(value[:300], safe='')}" for name, value in asked.items() if value)
