"""Terminal tasks that a model writes: words and truth first, then ways to do it from the words alone, then the proof.

Whoever writes the solution does not see the truth, so a task whose words do not say enough fails its own oracle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.envs.sandbox.tier import Sandbox
from evolvent.errors import BadInput, nearest
from evolvent.policies.policy import Policy
from evolvent.records import Sampling
from evolvent.seeds import derive
from evolvent.synthesis.asking import ask, read_json
from evolvent.synthesis.funnel import Funnel, count
from evolvent.synthesis.terminal import draft as facts
from evolvent.synthesis.terminal.draft import Clause, Draft, Fact
from evolvent.synthesis.terminal.proof import Asked, CheckRow, prove
from evolvent.synthesis.terminal_tasks import as_folder
from evolvent.tasks.formats.harbor import HarborTask

ASKED = Asked(num_mutants=3, num_alternatives=2)
MAX_FILES, MAX_CHARS = 40, 20_000
SPEC = """Invent one task for somebody who works in a Linux shell, in an empty folder with a few text files.
Topic: {idea}

Answer with JSON in a fenced block:
{{"files": {{"path": "content at the start", ...}},
 "clauses": [{{"words": "one sentence of the instruction", "facts": [...]}}, ...]}}

Facts say what must be true when the task is done, each under the sentence that asks for it:
{{"kind": "text", "path": P, "want": "the whole content"}}
{{"kind": "lines", "path": P, "want": ["a line", ...]}}   the lines in any order
{{"kind": "same", "path": P}}       a file of the start that must not change
{{"kind": "absent", "path": P}}     nothing may be there
{{"kind": "folder", "path": P}}
{{"kind": "executable", "path": P, "want": true}}

Rules: bash, coreutils, grep, sed, awk, find, tar and python3 are there, and no network. Paths are relative. Name every
file that is checked, and the exact form of what goes into it. Nothing may depend on time, chance or the user. Work out
every wanted content with care. At the start the facts must not all hold, and no file may give the result away."""
WAYS = """This is a task in a Linux shell:

{instruction}

These files are there:
{files}

Answer with JSON in a fenced block, each script in bash, to be run in that folder:
{{"solution": "script that does all that is asked",
 "alternatives": ["two other right scripts", "that go other ways"],
 "mutants": ["three scripts", "with a typical mistake each", "whose outcome is wrong"]}}"""


@dataclass(frozen=True)
class Written:
    """What became of one idea: the task folder where it got so far, its checks, and why it was dropped if it was."""

    idea: str
    task: HarborTask | None = None
    checks: tuple[CheckRow, ...] = ()
    why: str = ""


async def write_tasks(
    policy: Policy, ideas: Sequence[str], how: Sampling, sandbox: Sandbox, *, asked: Asked = ASKED
) -> tuple[list[Written], Funnel]:
    """One task for each idea, proven like any other; what became of each, and the counts."""
    specs = await ask(policy, [SPEC.format(idea=idea) for idea in ideas], how, "terminal", "spec")
    read = [_tried(read_spec, spec) for spec in specs]
    open_ = [place for place, (_, why) in enumerate(read) if not why]
    words = [_ways_asked(*read[place][0]) for place in open_]
    answers = await ask(policy, words, how, "terminal", "ways") if words else []
    ways = {place: _tried(read_ways, answer) for place, answer in zip(open_, answers, strict=True)}
    found: list[Written] = []
    for place, (idea, (spec, why)) in enumerate(zip(ideas, read, strict=True)):
        way, other = ways.get(place, (None, ""))
        if why or other:
            found.append(Written(idea, why=f"spec: {why}" if why else f"ways: {other}"))
            continue
        name = f"written-{derive(how.seed, 'written', idea, place) % 16**8:08x}"
        found.append(Written(idea, as_folder(Draft(*spec, *way), name, {"family": "written", "level": 1})))
    return _proven(found, sandbox, asked)


def read_spec(told: Any) -> tuple[tuple[Clause, ...], dict[str, str]]:
    """Clauses and files from what a model said; BadInput where they are none."""
    files = _texts(_field(told, "files", dict), "files")
    clauses = []
    for item in _field(told, "clauses", list):
        found = tuple(_fact(fact, files) for fact in _field(item, "facts", list))
        clauses.append(Clause(str(_field(item, "words", str)).strip(), found))
    if not any(clause.facts for clause in clauses):
        raise BadInput("nothing is checked", got=told, wanted="a clause with facts")
    return tuple(clauses), files


def read_ways(told: Any) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The solution, wrong solutions, and other right ones."""
    lists = [tuple(str(way) for way in _field(told, name, list)) for name in ("mutants", "alternatives")]
    return str(_field(told, "solution", str)), lists[0], lists[1]


def _proven(found: Sequence[Written], sandbox: Sandbox, asked: Asked) -> tuple[list[Written], Funnel]:
    proofs = iter(prove([one.task for one in found if one.task], sandbox, asked))
    done = []
    for one in found:
        if one.task:
            proof = next(proofs)
            one = Written(one.idea, one.task, tuple(proof.rows), proof.failed)  # noqa: PLW2901
        done.append(one)
    states = [f"rejected: {one.why.partition(':')[0]}" if one.why else "kept" for one in done]
    return done, count(["drawn"] * len(done)) + count(states)


def _tried(read: Any, answer: str) -> tuple[Any, str]:
    try:
        return read(read_json(answer)), ""
    except BadInput as error:
        return None, f"{error.what}, got {str(error.got)[:120]}"


def _ways_asked(clauses: Sequence[Clause], files: Mapping[str, str]) -> str:
    instruction = "\n".join(clause.words for clause in clauses)
    return WAYS.format(instruction=instruction, files=json.dumps(files, indent=1, ensure_ascii=False))


def _fact(told: Any, files: Mapping[str, str]) -> Fact:
    kind, path = str(_field(told, "kind", str)), _path(_field(told, "path", str))
    if kind == "text":
        return facts.text(path, str(_field(told, "want", str)))
    if kind == "lines":
        return facts.lines(path, [str(line) for line in _field(told, "want", list)])
    if kind == "executable":
        return facts.executable(path, wanted=bool(_field(told, "want", bool)))
    if kind == "same":
        if path not in files:
            raise BadInput("a file that is not there cannot stay the same", got=path)
        return facts.bytes_as(path, files[path])
    plain = {"absent": facts.absent, "folder": facts.folder}
    if kind not in plain:
        raise BadInput("no such kind of fact", got=kind, cure=nearest(kind, [*plain, "text", "lines", "same"]))
    return plain[kind](path)


def _texts(told: Mapping[str, Any], where: str) -> dict[str, str]:
    found = {_path(path): told[path] for path in told}
    size = sum(len(text) if isinstance(text, str) else MAX_CHARS + 1 for text in found.values())
    if len(found) > MAX_FILES or size > MAX_CHARS:
        raise BadInput("too many files, too large, or no text", where=where, got=f"{len(found)} files, {size} letters")
    return found


def _path(told: Any) -> str:
    parts = str(told).split("/")
    if not all(parts) or {".", ".."} & set(parts) or len(str(told)) > 200 or not str(told).isprintable():
        raise BadInput("a path leads out of the folder", got=told, wanted="a relative path without ..")
    return str(told)


def _field(told: Any, name: str, kind: type) -> Any:
    if not isinstance(told, Mapping) or not isinstance(told.get(name), kind):
        raise BadInput(f"no {name}", got=told, wanted=f"an object with {name}")
    return told[name]
