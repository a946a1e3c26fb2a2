"""The requests of `bench hive`, and whether two servers give the same answers for the same rows."""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from bench.hive_load import request
from bench.hive_world import SENTENCES, TASK, World

HOME = f"/api/tasks/{TASK}"
READS = {"context": f"{HOME}/context", "leaderboard": f"{HOME}/runs?sort=score", "feed": f"{HOME}/feed"}
# of a hundred requests: 90 read, 10 write
MIX = {"context": 50, "leaderboard": 20, "feed": 20, "submit": 4, "post": 3, "vote": 3}
READING = {"context": 50, "leaderboard": 20, "feed": 20}
NUM_READY = 2_000


class Asking:
    """What one server is asked; commits are submitted once, in the same order at every server."""

    def __init__(self, world: World, fresh: Sequence[Sequence[str]], seed: int = 0) -> None:
        self.world, self.rng = world, Random(seed)
        self.num_submitted = 0
        made: dict[str, Callable[[], Iterator[bytes]]] = {"submit": lambda: self._submits(fresh)}
        made |= {"post": self._posts, "vote": self._votes}
        self.made = {name: make() for name, make in made.items()}
        self.made |= {name: itertools.cycle(self._reads(path)) for name, path in READS.items()}

    def about(self, what: str) -> Iterator[bytes]:
        """Endless requests of one kind, or the mix."""
        return self._mixed(MIX) if what == "mixed" else self.made["submit" if what == "default" else what]

    def reading(self, what: str) -> Iterator[bytes]:
        """As much as can be asked beforehand, without leaving anything behind."""
        return self.made[what] if what in READS else self._mixed(READING)

    def _mixed(self, mix: Mapping[str, int]) -> Iterator[bytes]:
        drawn = self.rng.choices(list(mix), list(mix.values()), k=NUM_READY)
        return (next(self.made[kind]) for kind in itertools.cycle(drawn))

    def _reads(self, path: str) -> list[bytes]:
        return [request("GET", path, token) for token in self.world.tokens]

    def _submits(self, fresh: Sequence[Sequence[str]]) -> Iterator[bytes]:
        """Agents by turns; half build on the best run, the others on any."""
        for shas in zip(*fresh, strict=True):
            for token, sha in zip(self.world.tokens, shas, strict=True):
                parent = self.world.best if self.rng.random() < 0.5 else self.rng.choice(self.world.runs)
                words = self._words(3)
                said = {"sha": sha, "branch": "main", "parent_id": parent.sha, "tldr": words[:70], "message": words,
                        "score": 0.9}  # fmt: skip
                self.num_submitted += 1
                yield request("POST", f"{HOME}/submit", token, json.dumps(said).encode())

    def _posts(self) -> Iterator[bytes]:
        while True:
            said = {"type": "post", "content": self._words(2)}
            yield request("POST", f"{HOME}/feed", self.rng.choice(self.world.tokens), json.dumps(said).encode())

    def _votes(self) -> Iterator[bytes]:
        """For posts of others; ours refuses a vote for one's own."""
        while True:
            number = self.rng.randrange(len(self.world.posts))
            others = len(self.world.tokens) - 1
            agent = (self.world.posts[number].agent + 1 + self.rng.randrange(others)) % (others + 1)
            path = f"{HOME}/feed/{number + 1}/vote"
            yield request("POST", path, self.world.tokens[agent], b'{"type": "up"}')

    def _words(self, num: int) -> str:
        return " ".join(self.rng.choices(SENTENCES, k=num))


def read(address: tuple[str, int], path: str) -> dict[str, Any]:
    """An answer of a server."""
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=60) as answer:
        return dict(json.loads(answer.read()))


def differences(ours: tuple[str, int], theirs: tuple[str, int], world: World) -> dict[str, str]:
    """By kind of request in what ours says something else than the public server about the same rows."""
    found = {}
    for what, path in READS.items():
        mine, yours = _told(what, read(ours, path)), _told(what, read(theirs, path))
        for name, value in yours.items():
            if mine.get(name) != value:
                found[what] = f"{name}: {mine.get(name)!r:.300} beside {value!r:.300}"
    assert read(theirs, READS["leaderboard"])["runs"][0]["id"] == world.best.sha
    return found


def _told(what: str, answer: dict[str, Any]) -> dict[str, Any]:
    """What must be the same: counts, the best, and what is listed in which order."""
    if what == "leaderboard":
        return {"runs": [(run["id"], run["verified_score"], run["tldr"]) for run in answer["runs"]],
                "next": answer["has_next"]}  # fmt: skip
    if what == "feed":
        shown = ("id", "type", "agent_id", "content", "upvotes", "downvotes")
        return {"items": [tuple(item[name] for name in shown) for item in answer["items"]],
                "claims": len(answer["active_claims"])}  # fmt: skip
    stats = answer["task"]["stats"]
    return {
        "stats": [stats[name] for name in ("total_runs", "best_score", "agents_contributing", "improvements")],
        "leaderboard": [(run["id"], run["verified_score"]) for run in answer["leaderboard"]],
        "feed": len(answer["feed"]),  # theirs by votes and answers, ours as the hub sees fit
        "skills": [skill["name"] for skill in answer["skills"]],
        "claims": len(answer["active_claims"]),
    }
