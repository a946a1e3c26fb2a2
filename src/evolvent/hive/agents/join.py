"""The life of one agent on one task: look, propose, push, submit, wait for the official number, tell what was learned.

What it has begun is written down beside its work tree before the hub hears of it. So nothing is lost when the hub goes
away, or when the agent itself is stopped: it goes on there when both are back.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.looking import OPEN, Window
from evolvent.hive.agents.proposer import Proposal, Proposer, Wire
from evolvent.hive.agents.telling import tell_finding
from evolvent.hive.agents.terms import How, Limits, Summary
from evolvent.hive.agents.unfinished import Unfinished, forget, keep, recall
from evolvent.hive.agents.worktree import WorkTree, open_tree, read_fork
from evolvent.hive.hub.refusals import Refused
from evolvent.seeds import stream

FIRST_POLL_S, MAX_POLL_S = 0.05, 2.0
KEPT_WAIT_S = 60.0  # for the comparison with the incumbent; the agent goes on without it
MAX_PAUSE_S = 30.0  # between tries to reach a hub that is away
MAX_FAILURES = 3  # of what is not the hub's absence, one after the other
MAX_MISSES = 20  # proposals without any change, one after the other
MAX_CLAIM = 2000  # characters


class Member:
    """One agent at work on one task, in a folder of its own."""

    def __init__(
        self, client: HubClient, agent: str, task: str, folder: Path, proposer: Proposer, how: How | None = None
    ) -> None:
        self.client, self.agent, self.task, self.folder, self.proposer = client, agent, task, folder, proposer
        self.how = how or How()
        self.summary = Summary()
        self.stop = Event()
        self._window = Window(client, task, agent, is_alone=self.how.is_alone)
        self._aside = client.hurried()
        self._tree: WorkTree | None = None
        self._began_s = time.monotonic()
        self._misses = 0
        self._owed = (0, 0.0)  # tokens and money of tries that changed nothing: the hub hears of them with the next one

    def run(self, stop: Event | None = None) -> Summary:
        """Work until a limit is reached, nothing is left to try, or `stop` is set; a hub that is away is waited for."""
        self.stop, failures, pause_s = stop or self.stop, 0, 1.0
        with alone(self.folder):
            while not self._is_over():
                try:
                    if not self.step():
                        break
                    failures, pause_s = 0, 1.0
                except (InfrastructureError, Refused) as error:
                    wait_s = self._judge(error)
                    failures = failures + 1 if wait_s is None else failures
                    if failures >= MAX_FAILURES:
                        raise
                    pause_s = min(2 * pause_s, MAX_PAUSE_S)
                    self._wait(wait_s or pause_s, error)
        self.summary.seconds = time.monotonic() - self._began_s
        return self.summary

    def step(self) -> bool:
        """One try, or the end of one that was begun before; False at the end of all, and the summary says why."""
        tree = self._enter()
        if begun := recall(self.folder):
            return self._finish(tree, begun)
        context = self._window.look(tree, self._left())
        if used := _used_up(context.budget):
            return self._end(f"the hub's budget is used: {used}")
        proposal = self.proposer.propose(
            tree.tree, context, stream(self.how.seed, "join", self.agent, context.number, self._misses)
        )
        if proposal is None:
            return self._end("nothing is left to try")
        self._count(proposal)
        commit = tree.commit(context.mutable, proposal.message or proposal.tldr)
        tokens, money = self._owed[0] + proposal.tokens, self._owed[1] + proposal.money
        if commit is None:
            self._owed = tokens, money
            return self._miss(proposal)
        proposal = replace(proposal, tokens=tokens, money=money)
        self._misses, self._owed = 0, (0, 0.0)
        self._say(self._aside.claim, self.task, (proposal.message or proposal.tldr)[:MAX_CLAIM])
        begun = Unfinished(commit, **asdict(proposal))
        keep(self.folder, begun)
        return self._finish(tree, begun)

    # ------------------------------------------------------------ from a commit to what was learned

    def _finish(self, tree: WorkTree, begun: Unfinished) -> bool:
        """Push, submit, wait and tell; whatever of it is done already does no harm."""
        if not begun.is_submitted:
            if not self._push(tree, begun):
                return self._end("this task is closed")
            try:
                answer = self.client.submit(self.task, begun.commit, **begun.said())
            except Refused as error:
                return self._drop(begun, error)
            begun = begun.submitted(answer.get("post_id"))
            keep(self.folder, begun)
            self.summary.evaluations += 1
            self.summary.runs.append(begun.commit)
        run = self._await_official(begun.commit)
        if run is None:
            return self._end("stopped; the last run is still measured")
        self._learn(begun, run)
        forget(self.folder)
        return True

    def _push(self, tree: WorkTree, begun: Unfinished) -> bool:
        """False where the hub takes no pushes any more, since the task is closed."""
        try:
            tree.push(begun.commit)
        except InfrastructureError:
            if self.client.task(self.task)["state"] == "open":
                raise
            forget(self.folder)
            return False
        return True

    def _await_official(self, commit: str) -> Wire | None:
        """The run once it is measured, and compared where it challenges the best; None where the agent is stopped."""
        pause_s, until = FIRST_POLL_S, 0.0
        while True:
            run = self.client.run(self.task, commit)
            if run["verification_status"] not in OPEN:
                until = until or time.monotonic() + KEPT_WAIT_S
                if not run.get("is_comparing") or time.monotonic() > until:
                    return run
            if self.stop.wait(pause_s):
                return None
            pause_s = min(1.5 * pause_s, MAX_POLL_S)

    def _learn(self, begun: Unfinished, run: Wire) -> None:
        """Count it, and leave it for those who come after."""
        summary, task = self.summary, self.client.task(self.task)
        sign = -1 if task["direction"] == "minimize" else 1
        summary.official += bool(run["verified"])
        summary.kept += run["is_kept"] is True
        best = summary.best
        if run["verified"] and (best is None or sign * (run["verified_score"] - best["verified_score"]) > 0):
            summary.best = run
        finding = tell_finding(self.task, run, self._parent(begun), begun.cost())
        if begun.post_id is not None:
            self._say(self._aside.comment, self.task, begun.post_id, finding)
        if run["is_kept"] is True:
            self._say(self._aside.post, self.task, finding, run["id"])
        self.how.tell("result", {"run": run, "task": task, "summary": summary})

    def _parent(self, begun: Unfinished) -> Wire | None:
        if begun.parent is None:
            return None
        with suppress(Refused):
            return self.client.run(self.task, begun.parent)
        return None

    def _drop(self, begun: Unfinished, error: Refused) -> bool:
        """The hub does not take it: what is over is over, what is too fast comes again."""
        if error.status == 429:
            raise error
        forget(self.folder)
        if error.status in (403, 409):
            return self._end(error.what.splitlines()[0])
        raise error

    # ------------------------------------------------------------ limits

    def _enter(self) -> WorkTree:
        if self._tree is None:
            fork = read_fork(self.client.clone(self.task)["ssh_url"])
            self._tree = open_tree(self.folder, fork)
        return self._tree

    def _is_over(self) -> bool:
        if self.stop.is_set():
            self.summary.why = self.summary.why or "stopped"
            return True
        spent = next((name for name, left in self._left().items() if left <= 0), None)
        if spent is not None and recall(self.folder) is None:
            self.summary.why = f"its limit is used: {spent}"
            return True
        return False

    def _left(self) -> dict[str, float]:
        """What remains of each limit that was set."""
        limits, used = self.how.limits, self.summary
        seconds = time.monotonic() - self._began_s
        spent = {"evaluations": used.evaluations, "seconds": seconds, "tokens": used.tokens, "money": used.money}
        granted = {name: getattr(limits, name) for name in Limits.__slots__}
        return {name: limit - spent[name] for name, limit in granted.items() if limit is not None}

    def _count(self, proposal: Proposal) -> None:
        self.summary.tokens += proposal.tokens
        self.summary.money += proposal.money

    def _miss(self, proposal: Proposal) -> bool:
        """A try that changed nothing: it cost something, and the hub never hears of it."""
        self._misses += 1
        self.how.tell("miss", {"proposal": proposal})
        if self._misses >= MAX_MISSES:
            return self._end(f"{self._misses} tries in a row changed nothing")
        return True

    def _end(self, why: str) -> bool:
        self.summary.why = why
        return False

    def _judge(self, error: InfrastructureError | Refused) -> float | None:
        """How long to wait where the hub is away or busy; None where that is not what went wrong."""
        if isinstance(error, Refused):
            if error.status != 429:
                raise error
            return error.retry_after_s or 1.0
        try:
            self._aside.health()
        except (InfrastructureError, Refused):
            return 0.0
        return None

    def _wait(self, wait_s: float, error: Exception) -> None:
        left_s = self._left().get("seconds", wait_s)
        self.how.tell("waiting", {"error": error, "seconds": wait_s})
        self.stop.wait(max(min(wait_s, left_s), 0.0))

    def _say(self, how: Callable[..., Any], *words: Any) -> None:
        """Words that are good to have; work does not wait for them."""
        try:
            how(*words)
        except (InfrastructureError, Refused):
            self.summary.unsaid += 1


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold an agent's folder; BadInput where another process is at work in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                "this agent is at work already", where=str(folder), cure="name=ANOTHER makes another agent"
            ) from None
        yield
    finally:
        os.close(handle)


def _used_up(budget: Wire) -> str:
    """The first kind of which an agent has used all that the hub grants."""
    for kind, row in budget.items():
        if isinstance(row, Mapping) and row.get("limit") is not None and row["used"] >= row["limit"]:
            return f"{row['used']:g} of {row['limit']:g} {kind}"
    return ""
