"""What a member of the hive sees: reads the hub before each try, and knows what it has read before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolvent.errors import BadInput
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.proposer import Context, Desk
from evolvent.hive.agents.worktree import WorkTree

Wire = dict[str, Any]
HOUSE = "hub"  # in whose name the baseline was measured
OPEN = ("pending", "running")  # what a run is before its official result
READ_ALL_EVERY = 20  # looks: an owner may call an old run off


class Window:
    """One agent's view of one task; `is_alone` hides everybody else, as if the hub were this agent's own."""

    def __init__(self, client: HubClient, task: str, agent: str, *, is_alone: bool = False) -> None:
        self.client, self.task, self.agent, self.is_alone = client, task, agent, is_alone
        self._runs: dict[str, Wire] = {}
        self._num_looks = 0

    def look(self, tree: WorkTree, left: Mapping[str, float]) -> Context:
        """Everything that the agent may know at this moment; the work tree stands on the best run."""
        seen = self.client.context(self.task)
        self._read_runs()
        runs = sorted(self._runs.values(), key=lambda run: int(run["number"]))
        self._fetch(tree, runs)
        best = self._best(seen["task"], runs)
        base = best["id"] if best else seen["task"]["base_sha"]
        tree.stand_on(base, self._source(base))
        alone = self.is_alone
        return Context(
            task=seen["task"],
            agent=self.agent,
            program=seen["task"].get("program", ""),
            base=base,
            desk=Desk(
                lambda commit: tree.stand_on(commit, self._source(commit)),
                lambda *at: self._read(tree, *at),
                tree.read_all,
            ),
            best=best,
            runs=runs,
            leaderboard=() if alone else seen["leaderboard"],
            claims=() if alone else [one for one in seen["active_claims"] if one["agent_id"] != self.agent],
            feed=() if alone else seen["feed"],
            skills=() if alone else seen["skills"],
            budget=self.client.budget(self.task),
            number=sum(run["agent_id"] == self.agent for run in runs),
            left=left,
        )

    def _read_runs(self) -> None:
        """The newest runs down to the oldest that may have changed since the last look."""
        if self._num_looks % READ_ALL_EVERY == 0:
            self._runs.clear()
        self._num_looks += 1
        open_numbers = [run["number"] for run in self._runs.values() if run["verification_status"] in OPEN]
        down_to = min(open_numbers, default=max((run["number"] for run in self._runs.values()), default=0))
        for run in self.client.runs(self.task, view="all", sort="recent"):
            if not self.is_alone or run["agent_id"] in (self.agent, HOUSE):
                self._runs[run["id"]] = run
            if run["number"] <= down_to:
                break

    def _best(self, task: Wire, runs: list[Wire]) -> Wire | None:
        """What the hub has kept as the best; alone, the best official run of one's own."""
        if not self.is_alone:
            return self._runs.get(task["best_sha"] or "")
        sign = -1 if task["direction"] == "minimize" else 1
        official = [run for run in runs if run["verified"]]
        return max(official, key=lambda run: (sign * run["verified_score"], run["number"]), default=None)

    def _fetch(self, tree: WorkTree, runs: list[Wire]) -> None:
        groups: dict[str, list[str]] = {}
        for run in runs:
            groups.setdefault(run["fork_url"], []).append(run["id"])
        for source, commits in groups.items():
            tree.fetch_all(commits, source)

    def _source(self, commit: str) -> str:
        return str(self._runs[commit]["fork_url"]) if commit in self._runs else ""

    def _read(self, tree: WorkTree, commit: str, path: str) -> bytes | None:
        if not self.is_alone or commit in self._runs:
            tree.fetch(commit, self._source(commit))
            return tree.read(commit, path)
        raise BadInput("this agent works alone, and sees no runs of others", where=self.task, got=commit)
