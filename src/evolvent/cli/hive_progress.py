"""What a person sees of an agent at work: a line for each evaluation, and what came of them in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from evolvent.cli.screen import Screen
from evolvent.cli.words import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from evolvent.hive.agents.proposer import Wire
    from evolvent.hive.agents.terms import Summary


LATE = 124  # as of timeout(1)


def make_teller(screen: Screen) -> Callable[[str, Mapping[str, Any]], None]:
    """Prints what an agent tells of itself."""

    def tell(kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "result":
            screen.console.print(tell_result(facts["run"], facts["task"]), markup=False, soft_wrap=True)
        elif kind == "waiting":
            error = facts["error"]
            said = f"{one_line(str(error.what), 100)}; again in {facts['seconds']:.0f} s"
            screen.console.print(f"waits   {said}", markup=False)
        elif kind == "miss":
            said = one_line(facts["proposal"].message, 100) or "nothing was changed"
            screen.console.print(f"missed  {said}", markup=False)

    return tell


def tell_result(run: Wire, task: Wire) -> str:
    """One line of an evaluation: number, official value, interval, kept, best so far, what was changed."""
    from evolvent.hive.agents.telling import shown

    if run["verified"]:
        value, kept = shown(run), decision(run, task)
    else:
        value, kept = one_line(run.get("why") or run["verification_status"], 40), "invalid"
    best = "-" if task["best_score"] is None else f"{task['best_score']:.6g}"
    return f"#{run['number']:<6}{value:<32} {kept:<10} best {best:<12} {one_line(run['tldr'], 60)}"


def decision(run: Wire, task: Wire) -> str:
    """What the hub decided of a run, in two words at most."""
    from evolvent.hive.agents.telling import beats

    if not run["verified"]:
        return "invalid"
    undecided = "waits" if beats(run, task) else "no better"
    return {True: "kept", False: "not kept", None: undecided}[run["is_kept"]]


def say_begin(screen: Screen, agent: str, task: str, folder: Path) -> None:
    """Who works on what, and where."""
    for name, words in (("agent", agent), ("task", task), ("folder", str(folder))):
        screen.console.print(f"{name:<8}{words}", markup=False, soft_wrap=True)


def say_end(screen: Screen, summary: Summary) -> None:
    """Why it ended, and what it has done."""
    from evolvent.hive.agents.telling import shown

    counts = f"{summary.evaluations} evaluations, {summary.official} official, {summary.kept} kept"
    spent = f", {summary.tokens:,} tokens" if summary.tokens else ""
    spent += f", {summary.money:g} of money" if summary.money else ""
    best = f"; best of its own #{summary.best['number']}: {shown(summary.best)}" if summary.best else ""
    screen.console.print(f"ended   {summary.why}", markup=False)
    screen.console.print(f"        {counts} in {summary.seconds:.0f} s{spent}{best}", markup=False, soft_wrap=True)
    if summary.unsaid:
        screen.console.print(f"        {summary.unsaid} claims or posts were not taken by the hub", markup=False)


def say_driven(screen: Screen, status: int, folder: Path) -> None:
    """How a command ended that drove itself."""
    how = "its time is used" if status == LATE else f"the command ended with status {status}"
    screen.console.print(f"ended   {how}; what it printed: {folder / 'agent.log'}", markup=False, soft_wrap=True)


def tell_answer(summary: Summary) -> dict[str, Any]:
    """The same for a program."""
    best = summary.best
    return {
        "evaluations": summary.evaluations,
        "official": summary.official,
        "kept": summary.kept,
        "tokens": summary.tokens,
        "money": summary.money,
        "seconds": round(summary.seconds, 3),
        "best": best and {"sha": best["id"], "number": best["number"], "value": best["verified_score"]},
        "why": summary.why,
    }
