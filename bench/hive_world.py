"""Draws what every server of `bench hive` holds: agents, runs, posts, comments, votes, claims, skills; from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

TASK = "packing"
SENTENCES = (
    "First fit with the items sorted by size leaves fewer gaps than next fit.",
    "A second pass that swaps pairs between the two emptiest bins gains a little on half of the instances.",
    "The bins that stay open are kept in a list sorted by room, found by bisection.",
    "Nothing gained: the last twenty items decide, and they are the same as before.",
    "Reproduced the parent first; its number came out within the interval.",
    "Cut the search at two seconds an instance, since longer runs changed nothing.",
    "Best fit decreasing, then exchange of one large item for two small ones while any bin can be emptied.",
    "The instances are cut from full bins, so a perfect packing exists and exact subset sums are worth their time.",
    "Crashed on the largest instance: the table of subset sums did not fit into the memory limit.",
    "Lowered the table to reachable sums only, kept as one big integer whose bits are the sums.",
)
DAYS, FAILED_FRAC, BOLD_FRAC, RECENT = 2.0, 0.08, 0.5, 50
BASELINE, GAIN = 0.8, (-0.02, 0.015)  # a try moves by so much of what is missing to 1: mean and spread


@dataclass(frozen=True)
class Scale:
    """How much there is of everything; posts are those beside the one of every run."""

    num_agents: int = 100
    num_runs: int = 10_000
    num_posts: int = 2_000
    num_comments: int = 4_000
    num_votes: int = 8_000
    num_claims: int = 12
    num_skills: int = 60


@dataclass(frozen=True)
class Run:
    """A run; `parent` is the place of the run that it was built upon, `score` None where it was invalid."""

    sha: str
    agent: int
    parent: int | None
    tldr: str
    message: str
    score: float | None
    at: datetime


@dataclass(frozen=True)
class Said:
    """Words of an agent: a post (of the `run` at a place), claim or skill, or a comment `about` the post at a place."""

    agent: int
    words: str
    at: datetime
    about: int = 0
    run: int | None = None


@dataclass(frozen=True)
class World:
    """All rows in the order of time; every run has a post among the posts."""

    names: tuple[str, ...]
    tokens: tuple[str, ...]
    runs: tuple[Run, ...]
    posts: tuple[Said, ...]
    comments: tuple[Said, ...]
    claims: tuple[Said, ...]
    skills: tuple[Said, ...]
    votes: tuple[tuple[int, int, str], ...]  # place of the post, agent, up or down
    improvements: int

    @property
    def best(self) -> Run:
        """The run that a leaderboard shows on top."""
        return max((run for run in self.runs if run.score is not None), key=lambda run: run.score or 0.0)


def draw_world(scale: Scale, shas: Sequence[Sequence[str]], seed: int = 0) -> World:
    """The same rows for the same seed; `shas` are commits of every agent, taken by turns."""
    rng = Random(seed)
    now = datetime.now(UTC)
    begun = now - timedelta(days=DAYS)
    runs, improvements = _runs(scale, shas, rng, begun)
    posts = [Said(run.agent, run.message, run.at, run=place) for place, run in enumerate(runs)]
    posts = sorted(posts + _said(rng, scale, scale.num_posts, begun, 2), key=lambda said: said.at)
    about = [rng.randrange(len(posts)) for _ in range(scale.num_comments)]
    comments = [
        Said(said.agent, said.words, said.at, place)
        for said, place in zip(_said(rng, scale, scale.num_comments, begun, 1), about, strict=True)
    ]
    pairs = {(_popular(rng, len(posts)), rng.randrange(scale.num_agents)) for _ in range(scale.num_votes)}
    return World(
        names=tuple(f"agent-{i:03d}" for i in range(scale.num_agents)),
        tokens=tuple(str(UUID(int=rng.getrandbits(128), version=4)) for _ in range(scale.num_agents)),
        runs=runs,
        posts=tuple(posts),
        comments=tuple(comments),
        claims=tuple(Said(said.agent, said.words, now) for said in _said(rng, scale, scale.num_claims, begun, 1)),
        skills=tuple(_said(rng, scale, scale.num_skills, begun, 3)),
        votes=tuple((post, agent, "up" if rng.random() < 0.8 else "down") for post, agent in sorted(pairs)),
        improvements=improvements,
    )


def tally(world: World) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """Votes up, votes down and comments, by the place of the post."""
    up = Counter(post for post, _, kind in world.votes if kind == "up")
    down = Counter(post for post, _, kind in world.votes if kind == "down")
    return up, down, Counter(said.about for said in world.comments)


def _runs(scale: Scale, shas: Sequence[Sequence[str]], rng: Random, begun: datetime) -> tuple[tuple[Run, ...], int]:
    """A campaign: half of the tries go on from the best run, the others from a recent one; few of them gain."""
    runs: list[Run] = []
    best, improvements = 0, 0
    for number in range(scale.num_runs):
        agent = number % scale.num_agents
        parent = best if rng.random() < BOLD_FRAC else rng.randrange(max(0, number - RECENT), max(1, number))
        came_from = (runs[parent].score or BASELINE) if runs else BASELINE
        score = came_from + (1 - came_from) * (rng.gauss(*GAIN) if runs else 0.0)
        words = " ".join(rng.sample(SENTENCES, 3))
        runs.append(Run(
            sha=shas[agent][number // scale.num_agents], agent=agent, parent=parent if runs else None,
            tldr=words[:70], message=words, score=None if runs and rng.random() < FAILED_FRAC else score,
            at=begun + timedelta(days=DAYS * number / scale.num_runs),
        ))  # fmt: skip
        if (runs[-1].score or 0.0) > (runs[best].score or 0.0) or number == 0:
            best, improvements = number, improvements + 1
    return tuple(runs), improvements


def _said(rng: Random, scale: Scale, num: int, begun: datetime, num_sentences: int) -> list[Said]:
    moments = sorted(rng.random() * DAYS for _ in range(num))
    return [
        Said(rng.randrange(scale.num_agents), " ".join(rng.sample(SENTENCES, num_sentences)), begun + timedelta(days=d))
        for d in moments
    ]


def _popular(rng: Random, num: int) -> int:
    """A place among so many; few of them get most of the votes."""
    return min(num - 1, int(num * rng.random() ** 2))
