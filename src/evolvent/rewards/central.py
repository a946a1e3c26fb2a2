"""One judge for a whole team: it sees everything that was said, and pays every turn of every seat by itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from evolvent.errors import BadInput
from evolvent.records import Episode, Score, Span, Trace
from evolvent.rewards.by_task import by_task, lift
from evolvent.rewards.judge import Check, Judge

Line = Mapping[str, Any]
"""A line of a team's minutes: seat, turns, round, depth, words, and the numbers of the lines that it `heard`."""

Shape = Callable[[float, float], float]
Scope = Callable[[Sequence[Line], int], list[int]]


def margin(reward: float, before: float) -> float:
    """R - Q: better than what was there before."""
    return reward - before


def quality(reward: float, before: float) -> float:
    """Q R - (1 - Q)(1 - R): to be right after those who were right, and to be wrong after those who were wrong."""
    return before * reward - (1 - before) * (1 - reward)


def same_trajectory(lines: Sequence[Line], number: int) -> list[int]:
    """Every turn of the episode that is less deep: what came before in a chain; proposers side by side have none."""
    return [i for i, line in enumerate(lines) if line["depth"] < lines[number]["depth"]]


def all_earlier_rounds(lines: Sequence[Line], number: int) -> list[int]:
    """The turns of all seats in earlier rounds."""
    return [i for i, line in enumerate(lines) if line["round"] < lines[number]["round"]]


def own_earlier_rounds(lines: Sequence[Line], number: int) -> list[int]:
    """The turns of the same seat in earlier rounds."""
    seat = lines[number]["seat"]
    return [i for i in all_earlier_rounds(lines, number) if lines[i]["seat"] == seat]


@dataclass(frozen=True)
class Central:
    """R + alpha shape(R, Q) for every turn: MARTI (ICLR 2026), after MAPoRL, arXiv:2502.18439.

    R is what `raw` says of the words of the turn, where a judge that compares attempts (`Consensus`) compares all turns
    of all attempts at a task; Q is the mean of R over the turns in `scope`, and a turn without such turns is not
    shaped. `beta` times what the team's own answer earns is added to every turn. A seat of `verifiers` says yes or no,
    and earns 1 where that is the truth of the last answer that it read, else 0: its pay is not shaped, and is no part
    of Q. A score's spans pay turn by turn; its value is their mean, its components name them `seat.turn.raw` and so on.
    """

    scope: Scope
    shape: Shape | None = None
    alpha: float = 0.5  # MARTI
    beta: float = 0.0  # 0.5 in its variants with outcome
    verifiers: tuple[str, ...] = ()
    raw: Judge | Check = by_task

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and math.isfinite(self.beta)):
            raise BadInput("not a weight", where="Central", got=(self.alpha, self.beta), wanted="finite numbers")

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone, where it does for the judge of the words."""
        return bool(getattr(lift(self.raw), "judges_alone", False))

    def __call__(self, episodes: Sequence[Episode]) -> list[dict[str, Score]]:
        """One score for each seat that spoke."""
        minutes = [minutes_of(episode) for episode in episodes]
        said = [
            (number, i, line["words"])
            for number, lines in enumerate(minutes)
            for i, line in enumerate(lines)
            if line["seat"] not in self.verifiers
        ]
        ends = [(number, -1, episode.answer) for number, episode in enumerate(episodes) if self.beta]
        worth = self._judge(episodes, said) | self._judge(episodes, ends)
        return [
            self._score(episode, lines, {i: value for (n, i), value in worth.items() if n == number})
            for number, (episode, lines) in enumerate(zip(episodes, minutes, strict=True))
        ]

    def _judge(self, episodes: Sequence[Episode], said: Sequence[tuple[int, int, str]]) -> dict[tuple[int, int], float]:
        """What the judge says of words, as if each were the answer of an episode of its own."""
        if not said:
            return {}
        scores = lift(self.raw)([replace(episodes[number], answer=words) for number, _, words in said])
        found = {}
        for (number, i, _), score in zip(said, scores, strict=True):
            if not isinstance(score, Score):
                raise BadInput("a turn is judged as a whole", where="Central.raw", got="one score a role")
            found[number, i] = score.value
        return found

    def _score(self, episode: Episode, lines: Sequence[Line], worth: Mapping[int, float]) -> dict[str, Score]:
        raw = {i: worth[i] if i in worth else verdict_worth(lines, i, worth) for i in range(len(lines))}
        paid = [self._pay(lines, i, raw, worth) for i in range(len(lines))]
        spoke = [trace for trace in episode.traces if any(line["seat"] == trace.seat for line in lines)]
        return {trace.seat: score_of_seat(trace, lines, raw, paid) for trace in spoke}

    def _pay(self, lines: Sequence[Line], i: int, raw: Mapping[int, float], worth: Mapping[int, float]) -> float:
        if i not in worth:
            return raw[i]
        scope = [k for k in self.scope(lines, i) if k in worth]
        shaped = self.shape(raw[i], fmean(raw[k] for k in scope)) if self.shape and scope else 0.0
        return raw[i] + self.alpha * shaped + self.beta * worth.get(-1, 0.0)


def minutes_of(episode: Episode) -> list[Line]:
    """What was said in an episode, line by line."""
    if "transcript" not in episode.info:
        raise BadInput(
            "no team has talked here",
            where=episode.episode_id,
            got=", ".join(episode.info) or "an episode without info",
            wanted="a workflow that keeps minutes, such as rollouts.team:Teamwork",
        )
    return list(episode.info["transcript"])


def score_of_seat(trace: Trace, lines: Sequence[Line], raw: Mapping[int, float], paid: Sequence[float]) -> Score:
    """The turns of one seat as a score: turn by turn in its spans, and by name in its components."""
    said = [(i, line) for i, line in enumerate(lines) if line["seat"] == trace.seat]
    parts: dict[str, float] = {}
    spans: list[Span] = []
    for count, (i, line) in enumerate(said, start=1):
        name = f"{line['seat']}.{count}"
        parts |= {f"{name}.raw": raw[i], f"{name}.paid": paid[i]}
        spans += [Span(turn, 0, len(trace.turns[turn].tokens), paid[i]) for turn in line["turns"]]
    told = "; ".join(f"{line['words'][:40]!r} {raw[i]:g} paid {paid[i]:g}" for i, line in said)
    return Score(fmean(paid[i] for i, _ in said), parts, told, tuple(spans))


def read_verdict(words: str) -> bool | None:
    """Whether somebody says yes; None where it is neither yes nor no."""
    first = re.match(r"\W*(yes|no)\b", words, flags=re.IGNORECASE)
    return None if first is None else first[1].lower() == "yes"


def verdict_worth(lines: Sequence[Line], number: int, worth: Mapping[int, float]) -> float:
    """1 where a verdict is the truth of the last answer that it was given on, else 0."""
    judged = [i for i in sorted(lines[number]["heard"]) if i in worth]
    verdict = read_verdict(lines[number]["words"])
    return float(bool(judged) and verdict is not None and verdict == (worth[judged[-1]] >= 1.0))
