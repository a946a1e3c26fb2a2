"""Makes a searcher of a declared space an agent of the hive: it reads everybody's parameters and writes its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from evolvent.errors import BadInput, nearest
from evolvent.hive.agents.proposer import Context, Proposal, Wire
from evolvent.hive.agents.searchers import Anywhere, Crossover, HillClimb, Searcher, Tried
from evolvent.hive.paths import lies_in
from evolvent.hive.space import SPACE, Point, Space, Value, read_space

KINDS = ("hill_climb", "crossover", "tpe", "cma", "random")
MAX_TLDR = 300
_POINT = re.compile(r"^point (\{.*\})$", re.MULTILINE)


class SearchProposer:
    """Proposes whole new contents of the one file of parameters; remembers the points it has read."""

    def __init__(self, make: Callable[[Space], Searcher]) -> None:
        self._make = make
        self._space: Space | None = None
        self._searcher: Searcher | None = None
        self._points: dict[str, dict[str, Value] | None] = {}

    def propose(self, tree: Path, context: Context, rng: Random) -> Proposal | None:
        """The searcher's next point in the work tree, on top of the run that it builds on."""
        if self._space is None or self._searcher is None:
            self._space = find_space(context)
            self._searcher = self._make(self._space)
        space = self._space
        seen = [*self._read_runs(context, space), *read_claims(context, space)]
        move = self._searcher.propose(rng, seen)
        if move is None:
            return None
        parent = move.parent.commit if move.parent else (context.runs[0]["id"] if context.runs else None)
        if parent not in (None, context.base):
            context.desk.stand_on(parent)
        path = tree / space.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(space.write(move.point))
        tldr = space.tell(move.point, move.parent.point if move.parent else None)[:MAX_TLDR]
        return Proposal(tldr, f"{tldr}\n\n{move.how}\n{tell_point(move.point)}", parent)

    def _read_runs(self, context: Context, space: Space) -> Iterator[Tried]:
        new = [run["id"] for run in context.runs if run["id"] not in self._points]
        for commit, data in zip(new, context.desk.read_all(new, space.file) if new else [], strict=True):
            self._points[commit] = space.read(data)
        for run in context.runs:
            point = self._points[run["id"]]
            if point is not None:
                yield read_tried(run, point, context.sign)


def find_space(context: Context) -> Space:
    """The space that the task declares, as it was before anybody changed anything."""
    data = context.desk.read(context.task["base_sha"], SPACE)
    if data is None:
        raise BadInput(
            "this task declares no space of parameters",
            where=f"{context.task['id']}: {SPACE}",
            wanted="a task with public/space.json",
            cure='agent="COMMAND ..." or agent=URL#MODEL can work on any task',
        )
    space = read_space(data)
    if not lies_in(space.file, context.mutable):
        got, wanted = space.file, f"at {', '.join(context.mutable)}"
        raise BadInput("the file of parameters may not be changed", where=SPACE, got=got, wanted=wanted)
    return space


def read_tried(run: Wire, point: Point, sign: int) -> Tried:
    """A run as a searcher sees it: only official numbers count, turned so that more is better."""
    worth = sign * float(run["verified_score"]) if run["verified"] else None
    is_open = run["verification_status"] in ("pending", "running")
    return Tried(point, worth, run["agent_id"], run["id"], run["parent_id"], int(run["number"]), is_open)


def read_claims(context: Context, space: Space) -> Iterator[Tried]:
    """The points that others say they are trying at this moment."""
    for claim in context.claims:
        found = _POINT.search(claim.get("content") or "")
        point = space.read(found[1].encode("utf-8", "replace")) if found else None
        if point is not None:
            yield Tried(point, None, claim["agent_id"], f"claim {claim.get('id')}", number=1 << 62, is_open=True)


def tell_point(point: Point) -> str:
    """A line that others can read a point from."""
    return f"point {json.dumps(point)}"


def build_searcher(kind: str) -> SearchProposer:
    """The proposer of this kind; MissingExtra where it needs a library that is not here."""
    if kind not in KINDS:
        raise BadInput(f"no searcher {kind!r}", where="agent", got=kind, cure=nearest(kind, list(KINDS)))
    if kind in ("tpe", "cma"):
        from evolvent.hive.agents.search_optuna import Optuna, import_optuna

        import_optuna(kind)
        return SearchProposer(lambda space: Optuna(space, "tpe" if kind == "tpe" else "cma"))
    made: dict[str, Callable[[Space], Searcher]] = {
        "hill_climb": HillClimb,
        "crossover": Crossover,
        "random": Anywhere,
    }
    return SearchProposer(made[kind])
