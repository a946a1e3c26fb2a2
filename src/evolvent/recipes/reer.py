"""Plans searched for known good answers: whatever makes the answer least surprising is what its writer had in mind."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import Observation, Spent, arm, compare_tasks
from evolvent.envs import Toolbox
from evolvent.envs.world import World
from evolvent.evals.measure import Suite
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Message, Task, said
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer, Demonstrate, Team, single
from evolvent.seeds import stream
from evolvent.synthesis.plan_search import (
    Concludes,
    CopyLeak,
    Counts,
    Found,
    Pair,
    Perplexity,
    Plan,
    PlanSearch,
    Repetition,
    Scorer,
    count,
    search_at_random,
)
from evolvent.tasks import stories
from evolvent.tasks.stories import Stories, Story
from evolvent.training.losses import Likelihood, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="reer",
    title="REER: reverse-engineered reasoning by search on perplexity",
    paper="arXiv:2509.06160",
    changes=("synthesis",),
    claim="plans found by local search on perplexity are nearer the truth than first guesses, and better to learn from",
    verdict="shown",
)

LEAKS = CopyLeak(num_words=3)
SEARCH = PlanSearch(
    num_visits=15, max_quiet=5, max_words=32, forbids=(LEAKS,), filters=(LEAKS, Repetition(), Concludes())
)


def propose(pair: Pair, plan: Plan, number: int, rng: Random) -> list[str]:
    """Candidates for a segment, as a generator that sees the answer makes them: three guesses, and one quotation."""
    slot = list(stories.SLOTS)[number]
    guesses = rng.choices(list(stories.SLOTS[slot]), k=3)
    return [*(stories.segment(slot, guess) for guess in guesses), f"{slot} {rng.choice(pair.answer.split('. '))}"]


@dataclass(frozen=True, slots=True)
class Searched:
    """Shows with a story what a search from a rough plan finds, scored by the counts of `num_known` planned stories."""

    search: PlanSearch = SEARCH
    num_known: int = 300

    def __call__(self, story: Story, rng: Random) -> Plan:
        """The plan, or none where a filter refuses it."""
        (found,) = self.search(
            [pair_of(story)], [stories.rough_plan(story, rng)], propose, self.scorer(), lambda _: rng
        )
        return () if found.refused else found.plan

    def scorer(self) -> Counts:
        """What scores plans."""
        return _counted(self.num_known)


@functools.cache
def _counted(num_known: int) -> Counts:
    return count((s.plan, s.text) for s in (stories.write(0, "train", i) for i in range(num_known)))


def pair_of(story: Story) -> Pair:
    """A story without its plan."""
    return Pair(f"story {story.index}", story.question, story.text)


def ask(question: str, plan: Plan) -> tuple[Message, ...]:
    """The prompt for an answer, as in training."""
    return (said("user", stories.ask(question, plan)),)


async def tell(task: Task, team: Team, world: World) -> Answer:
    """Recite a story without its plan: what a base model has read before it learns to follow plans."""
    assert task.private is not None
    team["agent"].recite(task.private.solution[-1], said("user", task.question.partition(" Plan:")[0]))
    return Answer(task.private.solution[-1].text)


def build() -> Improve:
    """Stories alone, then supervised training on 20,000 with searched plans, as many triples as the paper's."""
    loss = Likelihood(token_mean)
    optimizer = Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=10)))
    return Improve(
        recipe="reer",
        source=Stories(planner=Searched(), first=1000),
        model=ModelSpec(depth=2),
        cold_start=Phase(100, 32, 1, tell, Uniform(1), imitate_all, loss, optimizer),
        curriculum=Uniform(1),
        workflow=single,
        practice_workflow=Demonstrate(),
        world=Toolbox(()),
        advantage=imitate_all,
        loss=loss,
        optimizer=optimizer,
        num_steps=625,
        tasks_per_step=32,
        group_size=1,
        budgets=Budgets(turn_tokens=256, context_tokens=512, episode_tokens=256),
        num_threads=1,
    )


# ---------------------------------------------------------------- the effect

NUM_KNOWN, NUM_STORIES = 1000, 512  # stories with their plans for the scorer, and others whose plans are searched
NUM_STEPS = 120  # updates of the scorer, and of each student
FEW = Suite(num_tasks=16, num_levels=1, num_tasks_during=16, best_of=1)


def effect(seed: int) -> list[Observation]:
    """A scorer is trained on planned stories, and searches plans for others; two students learn from what it knew."""
    begun = time.perf_counter()
    scorer = arm(_plan(Stories(stories.half_planned, seed, num_stories=NUM_KNOWN), FEW), seed)
    told = [stories.write(seed, "train", NUM_KNOWN + i) for i in range(NUM_STORIES)]
    rough = [stories.rough_plan(s, stream(seed, "reer", "rough", s.index)) for s in told]
    found, random = look(told, rough, Perplexity(scorer.policies["agent"], ask), seed)
    best, chance = [f.plan for f in found], [f.plan for f in random]
    right, right_rough, right_random = (_matches(told, plans) for plans in (best, rough, chance))
    cost = Spent(sum(f.num_scored for f in found), 0, time.perf_counter() - begun)
    measured = replace(FEW, num_tasks=256)
    kept = [f.pair.name for f in found if not f.refused]
    given = (
        tuple((s.index, z) for s, z in zip(told, p, strict=True) if pair_of(s).name in kept) for p in (best, rough)
    )
    treated, control = (arm(_plan(Stories(seed=seed, given=some), measured), seed) for some in given)
    return [
        Observation("searched plans are nearer the true ones", "greater", "match", right, right_rough, cost, cost),
        Observation("nearer than the best of as many random ones", "greater", "match", right, right_random, cost, cost),
        compare_tasks("who learned from them keeps to a plan", "greater", treated, control, metric="whole plans kept"),
    ]


def look(told: Sequence[Story], starts: Sequence[Plan], score: Scorer, seed: int) -> tuple[list[Found], list[Found]]:
    """Plans by local search, and by as many random draws for each story."""
    pairs = [pair_of(s) for s in told]
    found = SEARCH(pairs, starts, propose, score, functools.partial(stream, seed, "reer", "search"))
    nums = [f.num_scored for f in found]
    draw = functools.partial(stream, seed, "reer", "random")
    return found, search_at_random(pairs, _draw, score, nums, draw)


def _draw(pair: Pair, rng: Random) -> Plan:
    return stories.random_plan(rng)


def _plan(source: Stories, suite: Suite) -> Improve:
    """The recipe's training on other triples, from new weights and with a word a token, which is shorter."""
    return replace(
        build(),
        source=source,
        suite=suite,
        model=ModelSpec(depth=2, vocab_size=1024),
        cold_start=None,
        num_steps=NUM_STEPS,
        eval_every=NUM_STEPS,
        budgets=Budgets(turn_tokens=48, context_tokens=96, episode_tokens=48),
    )


def _matches(told: Sequence[Story], plans: Sequence[Plan]) -> tuple[float, ...]:
    """The share of the true plan's segments that each plan has."""
    return tuple(
        sum(a == b for a, b in zip(s.plan, z, strict=True)) / len(s.plan) for s, z in zip(told, plans, strict=True)
    )
