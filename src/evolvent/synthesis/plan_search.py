"""Plans for answers known to be good, found without gradients: of many, that under which the answer surprises least.

Reverse-engineered reasoning, arXiv:2509.06160. The candidates come from outside, the scores from any model that gives
log-probabilities; what copies the answer would surprise least of all, so it is refused before it is scored.
"""

# B rows, T tokens

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import torch

from evolvent.errors import BadInput
from evolvent.records import Message

Plan = tuple[str, ...]
"""The segments of a plan, in order."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and a good answer to it; `name` tells its random stream from others."""

    name: str
    question: str
    answer: str


Propose = Callable[[Pair, Plan, int, Random], Sequence[str]]
"""Candidates for segment i of a plan: each is spliced in where segment i stands."""

Scorer = Callable[[Sequence[tuple[Pair, Plan]]], Sequence[float]]
"""The perplexity of each answer given its question and a plan."""

Filter = Callable[[Pair, Plan], str]
"""Why a plan must not be used, or nothing."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plan and how it was found: perplexity at first and after each accepted edit, how many plans were scored, why
    the search stopped, and which filters refuse the result.
    """

    pair: Pair
    plan: Plan
    trace: tuple[float, ...]
    num_scored: int
    stop: str
    refused: tuple[str, ...] = ()


def perplexity(logprobs: Sequence[float]) -> float:
    """exp(-1/|y| sum of log p(y_t | x, z, y_<t)) over the tokens of the answer alone."""
    if not len(logprobs):
        raise BadInput("an answer without a token has no perplexity", wanted="at least one token")
    return math.exp(-math.fsum(logprobs) / len(logprobs))


# ---------------------------------------------------------------- the search


@dataclass(frozen=True, slots=True)
class PlanSearch:
    """Segments visited in turn; the best of the candidates and of what stands there stays, so perplexity never rises.

    It stops after `num_visits`, at a perplexity of `enough`, or after `max_quiet` visits in a row that changed nothing.
    A plan of more than `max_words` words is not scored, nor is one that a filter in `forbids` refuses; `filters` look
    at the result.
    """

    num_visits: int
    enough: float = 1.0
    max_quiet: int | None = None
    max_words: int = 64
    forbids: tuple[Filter, ...] = ()
    filters: tuple[Filter, ...] = ()

    def __call__(
        self,
        pairs: Sequence[Pair],
        starts: Sequence[Plan],
        propose: Propose,
        score: Scorer,
        rng: Callable[[str], Random],
    ) -> list[Found]:
        """A plan for each pair, from its rough one; all are scored together, `rng(name)` is a pair's random stream."""
        generators = [rng(pair.name) for pair in pairs]
        first = score(list(zip(pairs, starts, strict=True)))
        found = [Found(p, z, (ppl,), 1, "") for p, z, ppl in zip(pairs, starts, first, strict=True)]
        quiet = [0] * len(pairs)
        for visit in range(self.num_visits):
            asked = {
                i: self._candidates(one, visit % len(one.plan), propose, generators[i])
                for i, one in enumerate(found)
                if not one.stop
            }
            scores = iter(score([(found[i].pair, plan) for i, plans in asked.items() for plan in plans]))
            for i, plans in asked.items():
                before, found[i] = found[i], _stepped(found[i], [(next(scores), plan) for plan in plans])
                quiet[i] = quiet[i] + 1 if found[i].plan == before.plan else 0
                found[i] = replace(found[i], stop=self._stops(found[i], quiet[i]))
        return [self._judged(one) for one in found]

    def _candidates(self, one: Found, segment: int, propose: Propose, rng: Random) -> list[Plan]:
        words = propose(one.pair, one.plan, segment, rng)
        plans = [(*one.plan[:segment], word, *one.plan[segment + 1 :]) for word in dict.fromkeys(words)]
        return [
            plan
            for plan in plans
            if plan != one.plan
            and sum(len(s.split()) for s in plan) <= self.max_words
            and not any(forbids(one.pair, plan) for forbids in self.forbids)
        ]

    def _stops(self, one: Found, num_quiet: int) -> str:
        if one.trace[-1] <= self.enough:
            return "enough"
        return "settled" if self.max_quiet is not None and num_quiet >= self.max_quiet else ""

    def _judged(self, one: Found) -> Found:
        refused = tuple(why for judge in self.filters if (why := judge(one.pair, one.plan)))
        return replace(one, stop=one.stop or "visits", refused=refused)


def _stepped(one: Found, candidates: Sequence[tuple[float, Plan]]) -> Found:
    """The better of what stands and of the candidates; the first of equals, and what stands before all."""
    best, plan = min(candidates, key=lambda c: c[0], default=(math.inf, one.plan))
    counted = replace(one, num_scored=one.num_scored + len(candidates))
    return replace(counted, plan=plan, trace=(*one.trace, best)) if best < one.trace[-1] else counted


def search_at_random(
    pairs: Sequence[Pair],
    draw: Callable[[Pair, Random], Plan],
    score: Scorer,
    nums_scored: Sequence[int],
    rng: Callable[[str], Random],
) -> list[Found]:
    """The control: the best of whole plans drawn anew, as many for each pair as `nums_scored` says."""
    asked: list[tuple[Pair, Plan]] = []
    for pair, num in zip(pairs, nums_scored, strict=True):
        generator = rng(pair.name)
        asked += [(pair, draw(pair, generator)) for _ in range(num)]
    scores = iter(zip(asked, score(asked), strict=True))
    found = []
    for pair, num in zip(pairs, nums_scored, strict=True):
        mine = [(ppl, plan) for (_, plan), ppl in (next(scores) for _ in range(num))]
        best, plan = min(mine, key=lambda c: c[0])
        found.append(Found(pair, plan, (mine[0][0], best), num, "visits"))
    return found


# ---------------------------------------------------------------- filters


def words_of(text: str) -> list[str]:
    """Lower-case words, marks left out."""
    return re.findall(r"\w+", text.lower())


def ngrams(words: Sequence[str], num: int) -> list[tuple[str, ...]]:
    """Every run of `num` words."""
    return [tuple(words[i : i + num]) for i in range(len(words) - num + 1)]


@dataclass(frozen=True, slots=True)
class CopyLeak:
    """Refuses a plan of whose runs of `num_words` words more than `max_frac` stand in the answer."""

    num_words: int
    max_frac: float = 0.0

    def __call__(self, pair: Pair, plan: Plan) -> str:
        """Why, or nothing."""
        runs = [run for segment in plan for run in ngrams(words_of(segment), self.num_words)]
        copied = sum(run in set(ngrams(words_of(pair.answer), self.num_words)) for run in runs)
        return f"copies the answer in {copied} places" if copied > self.max_frac * len(runs) else ""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Refuses a plan where the three most frequent trigrams that come again make more than `max_frac` of all."""

    max_frac: float = 0.3  # arXiv:2509.06160

    def __call__(self, pair: Pair, plan: Plan) -> str:
        """Why, or nothing."""
        runs = ngrams(words_of(" ".join(plan)), 3)
        again = sum(num for _, num in Counter(runs).most_common(3) if num > 1)
        return f"repeats itself: {again} of {len(runs)} trigrams" if again > self.max_frac * len(runs) else ""


@dataclass(frozen=True, slots=True)
class Concludes:
    """Refuses a plan that still thinks aloud in its last tenth."""

    thinking: tuple[str, ...] = ("hmm", "wait", "maybe", "let me", "not sure", "or should")

    def __call__(self, pair: Pair, plan: Plan) -> str:
        """Why, or nothing."""
        words = words_of(" ".join(plan))
        end = " ".join(words[-math.ceil(len(words) / 10) :])
        open_ends = [phrase for phrase in self.thinking if re.search(rf"\b{phrase}\b", end)]
        return f"never concludes: ends with {open_ends[0]!r}" if open_ends else ""


# ---------------------------------------------------------------- scorers


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Scores plans by a local policy: the answer as its reply to what `ask` makes of a question and a plan."""

    policy: Any
    ask: Callable[[str, Plan], tuple[Message, ...]]
    rows_at_once: int = 64

    def __call__(self, asked: Sequence[tuple[Pair, Plan]]) -> list[float]:
        """One perplexity for each; the tokens of question and plan are read and not counted."""
        renderer = self.policy.renderer
        rows = [(renderer.open(self.ask(p.question, z)), renderer.plain(p.answer)) for p, z in asked]
        order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))  # rows of one length need no padding
        found: dict[int, float] = {}
        with torch.no_grad():
            for start in range(0, len(rows), self.rows_at_once):
                places = order[start : start + self.rows_at_once]
                found.update(zip(places, self._read([rows[i] for i in places]), strict=True))
        return [found[i] for i in range(len(rows))]

    def _read(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        token_BT = np.full((len(rows), max(len(z) + len(y) for z, y in rows)), self.policy.pad_id, dtype=np.int64)
        mask_BT = np.zeros(token_BT.shape, dtype=bool)
        for i, (before, answer) in enumerate(rows):
            token_BT[i, : len(before) + len(answer)] = [*before, *answer]
            mask_BT[i, len(before) : len(before) + len(answer)] = True
        logprob_M = self.policy.logprobs(self.policy.lay_out(token_BT, mask_BT))[0].cpu().double()
        return [perplexity(part.tolist()) for part in logprob_M.split([len(answer) for _, answer in rows])]


@dataclass(frozen=True, slots=True)
class Counts:
    """Scores plans by counted words: the smallest model that knows plans, fitted by `count`.

    p(w | v, z) ~ p(w | v) * product over segments s of p(w | v, s) / p(w | v), with v the word before, over the words
    that were seen behind v.
    """

    after: Mapping[str, Counter[str]]
    after_with: Mapping[tuple[str, str], Counter[str]]
    smoothing: float = 0.5

    def __call__(self, asked: Sequence[tuple[Pair, Plan]]) -> list[float]:
        """One perplexity for each."""
        return [perplexity([self._logprob(v, w, z) for v, w in _steps(p.answer)]) for p, z in asked]

    def _logprob(self, before: str, word: str, plan: Plan) -> float:
        seen = self.after.get(before, Counter())
        total = sum(seen.values())
        shares = {w: num / (total + self.smoothing) for w, num in seen.items()}
        if word not in shares:
            return math.log(self.smoothing / (total + self.smoothing)) - math.log(len(self.after) + 1)
        worth = dict(shares)
        for one in plan:
            mine = self.after_with.get((one, before))
            if mine:
                scale = sum(mine.values()) + self.smoothing
                for w, share in shares.items():
                    worth[w] *= (mine[w] / share + self.smoothing) / scale
        known = total / (total + self.smoothing)  # what is left is for words never seen here
        return math.log(known * worth[word] / math.fsum(worth.values()))


def count(told: Iterable[tuple[Plan, str]]) -> Counts:
    """The counts of answers with their plans."""
    after: dict[str, Counter[str]] = {}
    after_with: dict[tuple[str, str], Counter[str]] = {}
    for plan, answer in told:
        for before, word in _steps(answer):
            after.setdefault(before, Counter())[word] += 1
            for one in plan:
                after_with.setdefault((one, before), Counter())[word] += 1
    return Counts(after, after_with)


def _steps(text: str) -> list[tuple[str, str]]:
    """Each word of a text with the one before it."""
    words = ["", *re.findall(r"\w+|[^\w\s]", text)]
    return list(itertools.pairwise(words))
