"""Operators and elimination for instructions in words, by way of any policy that can rewrite, answer and compare."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from evolvent.policies.policy import Policy
from evolvent.records import Private, Prompt, Sampling, Task, said
from evolvent.seeds import stream
from evolvent.synthesis.evolve import Evolution, Pool, Rule
from evolvent.synthesis.screening import plain

__all__ = ["IN_BREADTH", "IN_DEPTH", "OPERATORS", "RULES", "evolve_instructions"]

MAX_ADDED = 20  # words that one evolution in depth may add
MIN_REGRET = 80  # words below which an answer that apologises is no answer

IN_DEPTH: Mapping[str, str] = MappingProxyType(
    {
        "add constraint": "Ask for one thing more that the reply has to respect.",
        "deepen": "Where it asks about something, ask about it further down and further out.",
        "concretise": "Replace what is general in it by something particular.",
        "add reasoning": "Where few thoughts would do, ask so that several have to follow from each other.",
        "complicate input": "Give it some data to work on: a small table, a formula, or a few lines of code.",
    }
)
IN_BREADTH: Mapping[str, str] = MappingProxyType(
    {"breadth": "Write another one from the same field, about something rarer, as long and as hard as this one."}
)
OPERATORS: Mapping[str, str] = MappingProxyType({**IN_DEPTH, **IN_BREADTH})
FRAME = """Here is an instruction that somebody might give to an assistant. {operator}
The outcome must make sense, and a person must be able to answer it. Keep tables, code and formulas as they are. \
Add ten to twenty words at most. Reply with the new instruction alone.

<<<OLD>>>
{text}
<<<NEW>>>"""
COMPARE = """Two instructions follow. Would the same reply, with the same care, do for both? Say SAME or OTHER.

<<<FIRST>>>
{first}
<<<SECOND>>>
{second}"""

COPIED = re.compile(
    r"<<<|>>>|\b(?:(?:old|new|given|rewritten|evolved) (?:instruction|prompt)s?|somebody might give)\b", re.I
)
REGRET = re.compile(r"\b(?:sorry|apologi[sz]e|i can(?:no|')t|unable to|as an ai)\b", re.I)
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about all also am an and any are as at be been but by can do does for from had has have he her here him his
        how i if in is it its just me more most my no nor not of on or our she so some such than that the their them
        then there these they this those to too us very was we were what when where which who whom why will with would
        you your""",
    )
)


async def evolve_instructions(
    seeds: Sequence[Task], policy: Policy, how: Sampling, *, num_rounds: int, seed: int = 0
) -> Evolution:
    """Each round every leaf is rewritten by one operator, answered, compared with its parent, and kept or dropped.

    WizardLM (arXiv:2304.12244). The answers are the policy's own: only a checker behind it can say that they are right.
    """
    pool = Pool(seeds, RULES)  # the judge comes with each round
    for number in range(1, num_rounds + 1):
        names = [stream(seed, "evolve", task.task_id, number).choice(sorted(OPERATORS)) for task in seeds]
        asked = [FRAME.format(operator=OPERATORS[n], text=t.question) for n, t in zip(names, pool.leaves, strict=True)]
        questions = await _ask(policy, how, asked, ("rewrite", seed, number))
        answers = await _ask(policy, how, questions, ("answer", seed, number))
        pairs = zip(pool.leaves, questions, strict=True)
        compared = [COMPARE.format(first=leaf.question, second=question) for leaf, question in pairs]
        words = await _ask(policy, replace(how, temperature=0.0), compared, ("compare", seed, number))
        pool.rules = (JudgedEqual(frozenset(q for q, w in zip(questions, words, strict=True) if _is_same(w))), *RULES)
        made = zip(names, pool.leaves, questions, answers, strict=True)
        pool.settle({i: (name, _reworded(leaf, q, a)) for i, (name, leaf, q, a) in enumerate(made)})
    return pool.finished()


async def _ask(policy: Policy, how: Sampling, texts: Sequence[str], name: tuple[str | int, ...]) -> list[str]:
    """What the policy says to each text; an empty one is not asked."""
    places = [i for i, text in enumerate(texts) if text]
    prompts = [_prompt(policy, texts[i], (*name, i)) for i in places]
    said_back = await policy.sample(prompts, how) if prompts else []
    found = {i: made.text.strip() for i, made in zip(places, said_back, strict=True)}
    return [found.get(i, "") for i in range(len(texts))]


def _prompt(policy: Any, text: str, name: tuple[str | int, ...]) -> Prompt:
    messages = (said("user", text),)
    renderer = getattr(policy, "renderer", None)  # weights of our own read token ids
    return Prompt(messages, tokens=tuple(renderer.open(messages, ())) if renderer else None, stream=name)


def _is_same(words: str) -> bool:
    return words.strip(" .*\n").upper().startswith("SAME")


def _reworded(task: Task, question: str, answer: str) -> Task:
    return replace(task, prompt=(*task.prompt[:-1], said("user", question)), private=Private(answer))


# ---------------------------------------------------------------- elimination


@dataclass(frozen=True, slots=True)
class JudgedEqual:
    """Drops what a judge found to ask for nothing that its parent does not ask for; `questions` are those."""

    questions: frozenset[str]

    def __call__(self, child: Task, parent: Task) -> str:
        """Why the evolution failed, or nothing."""
        return "equal to its parent" if child.question in self.questions else ""


def says_nothing(child: Task, parent: Task) -> str:
    """The instruction, or its answer, has nothing but stop words and punctuation."""
    for what, text in (("instruction", child.question), ("answer", _answer(child))):
        if not set(re.findall(r"\w+", text.casefold())) - STOP_WORDS:
            return f"{what} says nothing"
    return ""


def unchanged(child: Task, parent: Task) -> str:
    """The instruction is its parent's, capitals and spaces aside."""
    return "equal to its parent" if plain(child.question).casefold() == plain(parent.question).casefold() else ""


def apologises(child: Task, parent: Task) -> str:
    """The answer is short, and an apology."""
    answer = _answer(child)
    return "answer apologises" if REGRET.search(answer) and len(answer.split()) < MIN_REGRET else ""


def copies_operator(child: Task, parent: Task) -> str:
    """The instruction has words of the prompt that it was made with."""
    return "copies the operator" if COPIED.search(child.question) else ""


def adds_too_much(child: Task, parent: Task) -> str:
    """An evolution in depth that added more words than it may: length is not difficulty."""
    is_deep = child.origin.how.removeprefix("evolve:") in IN_DEPTH
    added = len(child.question.split()) - len(parent.question.split())
    return "adds too many words" if is_deep and added > MAX_ADDED else ""


RULES: tuple[Rule, ...] = (says_nothing, unchanged, apologises, copies_operator, adds_too_much)


def _answer(task: Task) -> str:
    return task.private.answer if task.private is not None else ""
