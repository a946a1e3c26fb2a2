"""Writes what a model is asked for one edit, and leaves out the least telling parts until it fits into the context."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.hive.agents.edit_format import FORM
from evolvent.hive.agents.own_score import OwnScore
from evolvent.hive.agents.proposer import Context, Wire
from evolvent.hive.agents.words import CAUTION, official, one_line, standing, told

NUM_DIFFS, MAX_DIFF, MAX_TAIL = 3, 4000, 1000

ASK = """\
You improve a program, together with other agents. Think of one change that is likely to help and that nobody has
tried, and answer with an edit in this form:

{form}

Only these paths may be changed: {mutable}."""


@dataclass(frozen=True)
class Matter:
    """What is known before an edit: the context, the files as they stand, and what they reached by the own measure."""

    context: Context
    files: Mapping[str, str]
    own: OwnScore


def write_prompt(matter: Matter, fits: Callable[[str], bool]) -> str:
    """The fullest prompt that fits; BadInput where not even the files do."""
    context = matter.context
    ask = ASK.format(form=FORM.format(path=next(iter(matter.files), "PATH")), mutable=", ".join(context.mutable))
    needed = [ask, _show(matter.files)]
    wanted = [standing(context), "# The task\n\n" + context.program, _tell_own(matter)]
    others = [
        part for part in (*told(context)[:1], tell_diffs(context, list(matter.files)), *told(context)[1:]) if part
    ]
    for num in range(len(others), -1, -1):
        text = _join(needed, wanted, others[:num])
        if fits(text):
            return text
    for num in range(len(wanted) - 1, -1, -1):
        text = _join(needed, wanted[:num], [])
        if fits(text):
            return text
    raise BadInput(
        "the files of the artifact do not fit into the model's context",
        where="edit loop",
        got=f"{len(_join(needed, [], []))} characters",
        cure="raise context_tokens, or choose a model that can read more",
    )


def tell_diffs(context: Context, paths: Sequence[str]) -> str:
    """What the best runs changed against the run that they were built on."""
    parts = []
    for run in _best(context):
        parent = run.get("parent_id") or context.task.get("base_sha")
        if not parent or parent == run["id"]:
            continue
        lines = [line for path in paths for line in _diff(context, (str(parent), str(run["id"])), path)]
        if lines:
            head = f"### {one_line(str(run.get('tldr') or ''))} -> {official(run)}"
            parts.append(head + "\n" + "\n".join(lines)[:MAX_DIFF])
    return "## What the best runs changed\n\n" + "\n\n".join(parts) if parts else ""


def complain_to(error: BadInput) -> str:
    """What a model is told whose edit could not be read."""
    return f"That edit was not carried out, and nothing has changed.\n\n{error}\n\nWrite the whole edit again."


def _join(needed: Sequence[str], wanted: Sequence[str], others: Sequence[str]) -> str:
    return "\n\n".join([*wanted, *([CAUTION, *others] if others else ()), *reversed(needed)])


def _show(files: Mapping[str, str]) -> str:
    shown = [f"FILE: {path}\n```\n{text}```" for path, text in files.items()]
    return "# The files as they stand\n\n" + "\n\n".join(shown)


def _tell_own(matter: Matter) -> str:
    own, metric = matter.own, matter.context.task["metric"]
    if own.value is not None:
        return f"eval/eval.sh measures {metric}: {own.value:.6g} for these files, in {own.seconds:.1f} s."
    return f"eval/eval.sh measures nothing for these files: {own.why}\n{own.tail[-MAX_TAIL:]}"


def _best(context: Context) -> list[Wire]:
    by_id = {run["id"]: run for run in context.runs if run.get("verified_score") is not None}
    if context.best is not None:
        by_id[context.best["id"]] = context.best
    ranked = sorted(by_id.values(), key=lambda run: context.sign * (run.get("verified_score") or 0.0), reverse=True)
    return ranked[:NUM_DIFFS]


def _diff(context: Context, commits: tuple[str, str], path: str) -> list[str]:
    old, new = (_read(context, commit, path) for commit in commits)
    return list(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm="", n=2))


def _read(context: Context, commit: str, path: str) -> list[str]:
    return (context.desk.read(commit, path) or b"").decode(errors="replace").splitlines()
