"""Turns events of the hub into sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolvent.dashboard.wording import line

SENTENCES = {
    "agent": "registered",
    "claim": "works on an idea",
    "comment": "replied to",
    "fork": "joined",
    "fell": "is the best no longer: it was invalid on fresh seeds",
    "gave up": "could not be measured",
    "hold-out asked": "asked for the hold-out",
    "hold-out": "was measured on the hold-out",
    "invalid": "is invalid",
    "item": "wrote down work",
    "kept": "was kept: the new best",
    "not kept": "was compared and not kept",
    "post": "wrote",
    "push": "pushed commits",
    "run": "submitted",
    "scored": "was measured",
    "skill": "shared a skill",
    "task": "was opened or changed",
    "valid": "was called off, or put back",
    "vote": "voted",
}
OF_RUNS = frozenset(
    {"scored", "invalid", "kept", "not kept", "fell", "gave up", "hold-out", "valid"}
)  # the run is the subject
KINDS = "|".join(SENTENCES)


def tell_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """What happened as parts of a sentence: who, did what, to which thing and where that is found, in whose words."""
    data, kind, task = event.get("data") or {}, str(event["kind"]), event.get("task_id")
    thing, href = _thing(data, task, kind)
    words = data.get("tldr") or data.get("text") or data.get("title") or data.get("why") or ""
    return {
        "id": event["id"],
        "at": event["at"],
        "agent": event.get("agent_id"),
        "task": task,
        "kind": kind,
        "is_of_run": kind in OF_RUNS,
        "did": SENTENCES.get(kind, line(kind.replace("_", " "), 40)),
        "thing": thing,
        "href": href,
        "value": data.get("value") if isinstance(data.get("value"), int | float) else None,
        "words": line(words, 160),
    }


def _thing(data: Mapping[str, Any], task: str | None, kind: str) -> tuple[str, str]:
    """What an event is about, and its address."""
    if not task:
        return "", ""
    if sha := data.get("sha"):
        number = data.get("number")
        return (f"run {number}" if number else f"run {str(sha)[:7]}"), f"/tasks/{task}/runs/{sha}"
    post = data.get("post_id") or (data.get("id") if kind == "post" else None)
    if post is not None:
        return f"post {post}", f"/tasks/{task}/feed/{post}"
    if kind == "item" and data.get("id"):
        return str(data["id"]), f"/tasks/{task}/items/{data['id']}"
    return "", f"/tasks/{task}" + {"skill": "/skills", "claim": "#working"}.get(kind, "")
