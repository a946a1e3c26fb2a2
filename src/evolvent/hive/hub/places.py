"""Where things of a hub are found from outside."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

from fastapi import Request

from evolvent.hive.hub.identity import HOUSE


def base_url(request: Request) -> str:
    """How the hub is reached: as it was told, else as this request reached it."""
    told: str = request.app.state.hub.settings.public_url
    return (told or str(request.base_url)).rstrip("/")


def fork_name(task: str, agent: str) -> str:
    """The repository of an agent on a task."""
    return f"fork--{task}--{agent}"


def fork_url(base: str, task: str, agent: str) -> str:
    """Where a run's commits are fetched from; the public client adds `.git` itself."""
    return f"{base}/git/task--{task}" if agent == HOUSE else f"{base}/git/{fork_name(task, agent)}"


def upstream_url(base: str, task: str) -> str:
    """The repository that everybody starts from."""
    return f"{base}/git/task--{task}.git"


def push_url(base: str, task: str, agent: str, key: str) -> str:
    """The fork with what lets its agent push."""
    at = urlsplit(base)
    home = f"{quote(agent)}:{quote(key)}@{at.netloc}"
    return urlunsplit((at.scheme, home, f"{at.path}/git/{fork_name(task, agent)}.git", "", ""))
