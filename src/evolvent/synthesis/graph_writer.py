"""Lets any policy write the question, the answer and the rubric of a chain of calls, and drops what does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from evolvent.envs.databases import Database
from evolvent.errors import EvolventError
from evolvent.policies.policy import Policy
from evolvent.records import Origin, Private, Reference, Sampling, Task, said
from evolvent.rewards.rubric import KEY, TOTAL, Criterion, Kind, Rubric, average
from evolvent.synthesis.asking import ask, read_json
from evolvent.synthesis.graph_words import MAX_FIELDS
from evolvent.synthesis.steps import Chain

ASKING = Sampling(max_tokens=2000, temperature=0.7)  # Agent-World's released generator
ANSWERING = Sampling(max_tokens=4000, temperature=0.2)

QUESTION = """Below is what somebody did with a service, step by step, and what came back.
Write the request that would make another person do it: one paragraph that states a goal.
- Every step must be needed for it; it needs filtering, arithmetic or a condition.
- No names of tools or tables ({names}), no hint of the steps, no value that only the replies tell.
- It asks for at most {max_fields} fields that exist in the replies or follow from them, gives each of them a name, and
  has one answer.

{steps}

Reply with the request alone."""

REWRITE = """Say the following request anew, so that it keeps its meaning, its field names and its one answer but \
shows nothing of the order or kind of the steps that lead there:

{question}

Reply with the request alone."""

ANSWER = """A request, and all that is known:

{question}

{steps}

Answer the request from what is known alone, and write a rubric of {total} points for judging answers to it.
Reply with one JSON object: {{"answer": {{"field": value, ...}}, "rubric": [{{"kind": "fields" | "type" | "range" | \
"value", "field": "field, or empty for fields", "wanted": [names] | "number" | [low, high] | value, "points": 10, \
"is_hard": true}}, ...]}}
If what is known does not settle the answer, reply {{"unanswerable": true}}."""


@dataclass(frozen=True)
class Worded:
    """A question, its answer by field, and the rubric that judges answers."""

    question: str
    wanted: Mapping[str, Any]
    rubric: Rubric


async def word(
    database: Database, chain: Chain, policy: Policy, number: int, *, hides_workflow: bool = False
) -> Worded | str:
    """What a policy makes of a chain; or why it is dropped.

    The rubric must give its own answer all points and an empty one none; how the world is left is added as a gate.
    """
    names = ", ".join([t.name for t in database.tools] + [t.name for t in database.tables])
    steps = _told(chain)
    asked = QUESTION.format(names=names, max_fields=MAX_FIELDS, steps=steps)
    (question,) = await ask(policy, [asked], ASKING, "question", database.name, number)
    if hides_workflow and question.strip():
        (question,) = await ask(policy, [REWRITE.format(question=question)], ASKING, "rewrite", database.name, number)
    if not question.strip():
        return "no question"
    asked = ANSWER.format(question=question.strip(), steps=steps, total=TOTAL)
    (reply,) = await ask(policy, [asked], ANSWERING, "answer", database.name, number)
    found = read_json(reply)
    if not isinstance(found, Mapping):
        return "an answer that cannot be read"
    if found.get("unanswerable"):
        return "unanswerable"
    return _checked(question.strip(), found, chain)


def _checked(question: str, found: Mapping[str, Any], chain: Chain) -> Worded | str:
    wanted = found.get("answer")
    if not isinstance(wanted, Mapping) or not 1 <= len(wanted) <= MAX_FIELDS:
        return "an answer of no or too many fields"
    try:
        rubric = Rubric(tuple(_criterion(one) for one in found["rubric"]))
        task = Task(
            "trial", "graph", 1, (said("user", question),), Private("", {KEY: rubric}),
            Reference("evolvent.rewards.rubric:average"), Origin("trial"),
        )  # fmt: skip
        is_sound = average(task, json.dumps(wanted)).value == 1 and average(task, "{}").value == 0
    except (EvolventError, KeyError, TypeError, ValueError):
        return "a rubric that cannot be used"
    if not is_sound or not any(c.is_hard for c in rubric.criteria):
        return "a rubric that does not fit its answer"
    left = Criterion("state", chain.state, 0, is_hard=True)
    return Worded(question, wanted, replace(rubric, criteria=(*rubric.criteria, left)))


def _criterion(one: Mapping[str, Any]) -> Criterion:
    if one["kind"] not in get_args(Kind) or one["kind"] == "state":
        raise ValueError(one["kind"])
    wanted = tuple(one["wanted"]) if isinstance(one["wanted"], list) else one["wanted"]
    return Criterion(one["kind"], wanted, int(one["points"]), str(one.get("field", "")), is_hard=bool(one["is_hard"]))


def _told(chain: Chain) -> str:
    """Calls and replies; of these what two runs agreed on."""
    return "\n".join(
        f"{place}. {step.tool}({json.dumps(dict(step.arguments), ensure_ascii=False)})\n   -> "
        f"{json.dumps(step.observation, ensure_ascii=False)}"
        for place, step in enumerate(chain.steps, start=1)
    )
