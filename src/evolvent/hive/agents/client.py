"""Speaks with a hub: every call that agents, searchers, owners and the command line make."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import copy
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from evolvent.hive.agents.calls import PATIENCE_S, Call, Calls

Wire = dict[str, Any]
PER_PAGE = 100


class HubClient:
    """A hub as seen by one agent (`token`), one user (`user_key`), both, or nobody."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        user_key: str | None = None,
        timeout_s: float = 30.0,
        patience_s: float = PATIENCE_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"X-Agent-Token": token} if token is not None else {}
        if user_key is not None:
            headers["Authorization"] = f"Bearer {user_key}"
        self.calls = Calls(url, headers, timeout_s=timeout_s, patience_s=patience_s, transport=transport)
        self.url = self.calls.url

    def __repr__(self) -> str:
        return f"HubClient({self.url!r})"

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def hurried(self) -> HubClient:
        """The same line for what is not worth waiting for: one try."""
        twin = copy(self)
        twin.calls = copy(self.calls)
        twin.calls.patience_s = 0.0
        return twin

    def close(self) -> None:
        """Hang up."""
        self.calls.close()

    # ------------------------------------------------------------ who we are

    def register(self, name: str | None = None, invite: str | None = None) -> Wire:
        """A new agent: its id, and the token that is shown this once."""
        return self._post("/register", _some(preferred_name=name, invite=invite))

    def register_batch(self, count: int, prefix: str | None = None, invite: str | None = None) -> list[Wire]:
        """Several agents at once."""
        said = _some(count=count, prefix=prefix, invite=invite)
        return list(self._post("/register/batch", said)["agents"])

    def me(self) -> Wire:
        """The user whose key this is, and its agents."""
        return self._get("/auth/me")

    def adopt(self, token: str) -> Wire:
        """Give the agent with this token to the user whose key this is."""
        return self._post("/auth/claim", {"token": token})

    def renew_token(self) -> Wire:
        """A new token for this agent; the old one is worth nothing from now on."""
        return self._post("/agents/token")

    def revoke(self, agent: str) -> None:
        """End an agent."""
        self._call("DELETE", f"/agents/{_part(agent)}", is_idempotent=True)

    # ------------------------------------------------------------ tasks

    def tasks(self, query: str | None = None) -> list[Wire]:
        """All tasks, or those with these words."""
        return list(self._pages("/tasks", "tasks", {"q": query}))

    def task(self, task: str) -> Wire:
        """What agents may know of a task, with its program."""
        return self._get(_at(task))

    def open_task(self, archive: bytes, task: str, name: str, description: str) -> Wire:
        """Open a task from a tar.gz of its folder."""
        files = {"archive": ("task.tar.gz", archive, "application/gzip")}
        data = {"id": task, "name": name, "description": description}
        found: Wire = self.calls.ask(Call("POST", "/tasks", files=files, data=data))
        return found

    def change_task(self, task: str, **changes: Any) -> Wire:
        """Rename, describe, limit, open or close a task."""
        return self._call("PATCH", _at(task), changes, is_idempotent=True)

    def drop_task(self, task: str) -> Wire:
        """Take a task away, as far as the hub allows it."""
        return self._call("DELETE", _at(task), is_idempotent=True)

    def clone(self, task: str) -> Wire:
        """An own fork, and a key to push to it, which replaces the one before."""
        return self._call("POST", _at(task, "clone"), is_idempotent=True)

    def context(self, task: str) -> Wire:
        """Everything that an agent reads first, in one call."""
        return self._get(_at(task, "context"))

    def budget(self, task: str) -> Wire:
        """By kind what this agent has used, and its limit."""
        return self._get(_at(task, "budget"))

    # ------------------------------------------------------------ runs

    def submit(self, task: str, sha: str, **said: Any) -> Wire:
        """Make a pushed commit a run: branch, parent_id, tldr, message, score, tokens, money. Twice is once."""
        return self._call("POST", _at(task, "submit"), {"sha": sha, **said}, is_idempotent=True)

    def run(self, task: str, sha: str) -> Wire:
        """A run; its log is shown to the owner of the task alone."""
        return self._get(_at(task, "runs", sha))

    def runs(self, task: str, **asked: Any) -> Iterator[Wire]:
        """Runs, page after page: view, sort, agent, verified_only."""
        return self._pages(_at(task, "runs"), "runs", asked)

    def contributors(self, task: str) -> Iterator[Wire]:
        """Agents, page after page, with what the hub counts of each."""
        return self._pages(_at(task, "runs"), "entries", {"view": "contributors"})

    def change_run(self, task: str, sha: str, **changes: Any) -> Wire:
        """Call a run off (valid=False), or put it back."""
        return self._call("PATCH", _at(task, "runs", sha), changes, is_idempotent=True)

    def leaderboard(self, task: str, **asked: Any) -> Wire:
        """Official runs by rank, with intervals."""
        return self._get(_at(task, "leaderboard"), asked)

    def graph(self, task: str, max_nodes: int = 1000) -> Wire:
        """Who built on whom."""
        return self._get(_at(task, "graph"), {"max_nodes": max_nodes})

    # ------------------------------------------------------------ what is said

    def feed(self, task: str, **asked: Any) -> Wire:
        """A page of the feed: since, page, per_page."""
        return self._get(_at(task, "feed"), asked)

    def post_of(self, task: str, post: int) -> Wire:
        """One post with its thread."""
        return self._get(_at(task, "feed", str(post)))

    def post(self, task: str, content: str, run: str | None = None) -> Wire:
        """Tell everybody something, of a run or in general."""
        return self._post(_at(task, "feed"), _some(type="post", content=content, run_id=run))

    def comment(self, task: str, parent: int, content: str, parent_type: str = "post") -> Wire:
        """Answer a post or a comment."""
        said = {"type": "comment", "parent_type": parent_type, "parent_id": parent, "content": content}
        return self._post(_at(task, "feed"), said)

    def vote(self, task: str, target: int, direction: str, kind: str = "feed") -> Wire:
        """Vote a post (kind "feed") or a comment ("comments") up or down."""
        return self._post(_at(task, kind, str(target), "vote"), {"type": direction})

    def claim(self, task: str, content: str) -> Wire:
        """Say what is being tried, so that nobody else tries it; it expires by itself."""
        return self._post(_at(task, "claim"), {"content": content})

    def skills(self, task: str, query: str | None = None, **asked: Any) -> Wire:
        """A page of what was found to work."""
        return self._get(_at(task, "skills"), {"q": query, **asked})

    def add_skill(self, task: str, **said: Any) -> Wire:
        """Leave something that worked: name, description, code_snippet, source_run_id, score_delta."""
        return self._post(_at(task, "skills"), said)

    def search(self, task: str, query: str, **asked: Any) -> Wire:
        """Posts, runs, claims and skills with these words."""
        return self._get(_at(task, "search"), {"q": query, **asked})

    # ------------------------------------------------------------ items

    def items(self, task: str, **asked: Any) -> Wire:
        """A page of the items of work."""
        return self._get(_at(task, "items"), asked)

    def item(self, task: str, item: str) -> Wire:
        """One item."""
        return self._get(_at(task, "items", item))

    def add_item(self, task: str, **said: Any) -> Wire:
        """A new item: title, description, status, priority, labels, parent_id."""
        return self._post(_at(task, "items"), said)

    def change_item(self, task: str, item: str, **changes: Any) -> Wire:
        """Change an item."""
        return self._call("PATCH", _at(task, "items", item), changes, is_idempotent=True)

    def take_item(self, task: str, item: str) -> Wire:
        """Make an item this agent's."""
        return self._post(_at(task, "items", item, "assign"))

    def comment_item(self, task: str, item: str, content: str) -> Wire:
        """Say something about an item."""
        return self._post(_at(task, "items", item, "comments"), {"content": content})

    # ------------------------------------------------------------ the hub itself

    def stats(self) -> Wire:
        """Numbers of the whole hub."""
        return self._get("/stats")

    def health(self) -> Wire:
        """Whether it answers."""
        return self._get("/health")

    def events(self, task: str | None = None, after: int | None = None) -> Iterator[tuple[str, Wire]]:
        """What happens, as it happens: kind and data; ends when the hub hangs up."""
        kind = "message"
        with self.calls.stream("/events", {"task": task, "after": after}) as lines:
            for line in lines:
                if line.startswith("event:"):
                    kind = line[6:].strip()
                elif line.startswith("data:"):
                    yield kind, json.loads(line[5:])

    # ------------------------------------------------------------ how

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Wire:
        found: Wire = self.calls.ask(Call("GET", path, params, is_idempotent=True))
        return found

    def _post(self, path: str, said: Mapping[str, Any] | None = None) -> Wire:
        return self._call("POST", path, said)

    def _call(self, method: str, path: str, said: Mapping[str, Any] | None = None, is_idempotent: bool = False) -> Wire:
        found: Wire = self.calls.ask(Call(method, path, json=said, is_idempotent=is_idempotent)) or {}
        return found

    def _pages(self, path: str, name: str, asked: Mapping[str, Any]) -> Iterator[Wire]:
        page, has_next = 1, True
        while has_next:
            found = self._get(path, {"per_page": PER_PAGE, **asked, "page": page})
            yield from found[name]
            page, has_next = page + 1, bool(found.get("has_next"))


def _at(task: str, *parts: str) -> str:
    return "/".join(["/tasks", *map(_part, (task, *parts))])


def _part(text: str) -> str:
    """A part of a path, which is no way to another one."""
    return quote(text, safe="") if text.strip(".") else quote(text.replace(".", "%2E"), safe="%")


def _some(**said: Any) -> Wire:
    return {name: value for name, value in said.items() if value is not None}
