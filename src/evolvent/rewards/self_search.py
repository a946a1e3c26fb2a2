"""Judges a reply that searches itself: is its answer the gold one, and does its form keep the protocol?"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from evolvent.records import Episode, Score, Task
from evolvent.rewards.consensus import Consensus
from evolvent.rewards.verify import private
from evolvent.rollouts.self_search import (
    ANSWER,
    INFORMATION,
    PUBLISHED,
    SEARCH,
    THINK,
    Part,
    Tags,
    read_parts,
)

MAX_THINKS = 8
PLACEHOLDERS = ("...", "your query", "your answer", "query here", "answer here", "result here", "information here")
OTHER_TAG = re.compile(r"</?[a-z_]+>")
ARTICLES = re.compile(r"\b(a|an|the)\b")

Known = Callable[[Task, str, str], bool | None]
"""Whether what a reply wrote as information on a query is true; None where nobody can say."""


@dataclass(frozen=True, slots=True)
class SelfSearched:
    """0.9 EM + 0.1 F: the answer given, and the form of the whole reply (SSRL, arXiv:2508.10874).

    The answer is what the workflow took for it: in `SelfSearch`, what stands in the last answer tags, or nothing.
    For the log alone: token F1, how many searches and engine calls there were, and, with `known`, the share of true
    information among what the policy wrote itself.
    """

    tags: Tags = PUBLISHED
    em_weight: float = 0.9
    known: Known | None = None

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone."""
        return True

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode."""
        return [self._judge(episode) for episode in episodes]

    def _judge(self, episode: Episode) -> Score:
        reply = reply_of(episode)
        answer, golds = episode.answer, golds_of(episode.task)
        em, (form, why) = float(is_match(answer, golds)), score_form(reply, self.tags)
        parts, _ = read_parts(reply, self.tags)
        told = {
            "em": em,
            "format": form,
            "f1": max(token_f1(answer, gold) for gold in golds),
            "num_searches": float(sum(part.kind == SEARCH for part in parts)),
            "num_real": float(episode.info.get("num_real", 0)),
            "num_engine_calls": float(episode.info.get("num_engine_calls", 0)),
            **self._precision(episode.task, parts),
        }
        value = self.em_weight * em + (1 - self.em_weight) * form
        return Score(value, told, f"{answer or 'no answer'} is {'' if em else 'not '}the answer; {why}")

    def _precision(self, task: Task, parts: Sequence[Part]) -> dict[str, float]:
        if self.known is None:
            return {}
        pairs = [(a.text, b.text) for a, b in pairwise(parts) if (a.kind, b.kind) == FOUND]
        verdicts = [self.known(task, query.strip(), text.strip()) for query, text in pairs]
        true = [float(verdict) for verdict in verdicts if verdict is not None]
        return {"precision": fmean(true)} if true else {}


FOUND = (SEARCH, INFORMATION)


def normalised(answer: str) -> str | None:
    """What an answer counts as in a vote."""
    return normalise(answer) or None


@dataclass(frozen=True, slots=True)
class SelfVoted:
    """The same with a vote in place of gold answers: what most of a group answers counts as right (SSRL with TTRL)."""

    tags: Tags = PUBLISHED
    vote_weight: float = 0.9
    vote: Consensus = Consensus(canonical=normalised)

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per attempt at one task."""
        return [self._mix(e, voted) for e, voted in zip(episodes, self.vote(episodes), strict=True)]

    def _mix(self, episode: Episode, voted: Score) -> Score:
        form, why = score_form(reply_of(episode), self.tags)
        value = self.vote_weight * voted.value + (1 - self.vote_weight) * form
        return Score(value, {"format": form, **voted.components}, f"{voted.why}; {why}")


def reply_of(episode: Episode) -> str:
    """What follows the prompt: the policy's words, and those that an engine put between them."""
    turns = episode.traces[0].turns
    first = next((i for i, turn in enumerate(turns) if turn.message.role == "assistant"), len(turns))
    return "".join(turn.message.text for turn in turns[first:])


def golds_of(task: Task) -> tuple[str, ...]:
    """The answer of a task, and the other names that it goes by."""
    kept = private(task)
    return kept.answer, *map(str, kept.data.get("aliases", ()))


# ---------------------------------------------------------------- the answer


def normalise(answer: str) -> str:
    """Lower case, without articles, punctuation and spare space, as in SQuAD's evaluation."""
    bare = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", bare).split())


def is_match(answer: str, golds: Sequence[str]) -> bool:
    """Whether an answer is one of the golds, once both are normalised; no answer is none."""
    said = normalise(answer)
    return bool(said) and any(said == normalise(gold) for gold in golds)


def matches(task: Task, answer: str) -> Score:
    """1 where the normalised answer is the gold one, or another name of it."""
    em = float(is_match(answer, golds_of(task)))
    return Score(em, {"em": em}, f"{answer or 'no answer'} is {'' if em else 'not '}the answer")


def token_f1(answer: str, gold: str) -> float:
    """The harmonic mean of precision and recall of an answer's words."""
    said, wanted = normalise(answer).split(), normalise(gold).split()
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


# ---------------------------------------------------------------- the form


def score_form(reply: str, tags: Tags) -> tuple[float, str]:
    """F in 0..1 and why: min(thinks / 2, 1) times the smaller of (thinks, searches + 1) over the larger.

    0 where a rule is broken. Words between two parts break one, though the release lets them pass: there, what is
    not in any tag would be free of every rule. Space between parts is free.
    """
    parts, rest = read_parts(reply, tags)
    if broken := _broken_rule(parts, rest, tags):
        return 0.0, broken
    num_thinks = sum(part.kind == THINK for part in parts)
    num_rounds = sum(part.kind == SEARCH for part in parts) + 1
    fit = min(num_thinks, num_rounds) / max(num_thinks, num_rounds)
    return min(num_thinks / 2, 1.0) * fit, f"{num_thinks} thoughts, {num_rounds - 1} searches"


def _broken_rule(parts: Sequence[Part], rest: str, tags: Tags) -> str:
    """The first rule that a reply breaks, or nothing."""
    kinds = [part.kind for part in parts]
    rules = {
        "words outside of all tags": any(p.before.strip() for p in parts) or bool(rest.strip()),
        "it does not begin with a thought": kinds[:1] != [THINK],
        "it does not end with an answer": kinds[-1:] != [ANSWER],
        "an empty tag": any(not part.text.strip() for part in parts),
        "a tag inside a tag": any(_has_tag(part.text, tags) for part in parts),
        "a query of several lines": any("\n" in p.text.strip() for p in parts if p.kind == SEARCH),
        "a placeholder": any(words in part.text.lower() for part in parts for words in PLACEHOLDERS),
        "a query without information": any(
            (kind == SEARCH) != (after == INFORMATION) for kind, after in pairwise([*kinds, ""])
        ),
        f"more than {MAX_THINKS} thoughts": kinds.count(THINK) > MAX_THINKS,
    }
    return next((rule for rule, is_broken in rules.items() if is_broken), "")


def _has_tag(text: str, tags: Tags) -> bool:
    return any(mark in text for mark in tags.marks) or bool(OTHER_TAG.search(text))
