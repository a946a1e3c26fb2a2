"""Retriever and model refine each other: what is found is read, and what is then written finds more."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.envs.corpus import Corpus
from evolvent.evals.measure import Suite
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve
from evolvent.records import Message, Prompt, Reference, said
from evolvent.rewards import by_task
from evolvent.rollouts.refine import Refine
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Demonstrate
from evolvent.tasks.topics import Topics, TopicTasks, ask, is_known
from evolvent.training.losses import Likelihood, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="inter",
    title="InteR: knowledge refinement via interaction between search engines and large language models",
    paper="arXiv:2305.07402",
    changes=("envs", "rollouts", "rewards"),
    claim="passages written after reading what the first ones found find more than those did; more rounds add nothing",
)

NUM_PASSAGES = 5  # h; published 10
NUM_SHOWN = 8
SMALL = {
    "num_topics": 64,
    "pool_technical": 200,
    "pool_everyday": 60,
    "num_distractions": 256,
    "document_words": 8,
    "num_technical": 10,
}


def build() -> Improve:
    """A writer learns passages of half of the topics by heart, and to read; then it writes in rounds."""
    return plan_for(Topics(**SMALL))


def plan_for(topics: Topics) -> Improve:
    """The same for topics of one's choice."""
    corpus = Corpus(Reference("evolvent.tasks.topics:documents_of", {**SMALL, "seed": topics.seed}))
    return Improve(
        recipe="inter",
        source=TopicTasks(topics, num_shown=NUM_SHOWN),
        world=corpus,
        model=ModelSpec(depth=3, vocab_size=1024),
        workflow=Refine(rounds=2, shown=NUM_SHOWN, passage_tokens=16, ask=ask),
        practice_workflow=Demonstrate(),
        seats={"agent": "agent", **{f"agent/{i}": "agent" for i in range(2, NUM_PASSAGES + 1)}},
        curriculum=Uniform(1),
        reward=by_task,
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
        num_steps=200,
        tasks_per_step=32,
        group_size=1,
        budgets=Budgets(turn_tokens=24, context_tokens=320, episode_tokens=64),
        suite=Suite(num_tasks=512, num_tasks_during=16, num_levels=1, best_of=1),
        num_threads=1,
    )


@dataclass(frozen=True)
class HalfKnowing:
    """A stand-in for a large model: it knows every second topic, takes another for the rest, and copies what it reads.

    Of `num_words` a share `copies` comes from the passages shown, each chosen by how many words of the question it has.
    """

    topics: Topics
    num_words: int = 10
    copies: float = 0.6

    def __call__(self, prompt: Prompt, rng: Random) -> Message:
        """One passage."""
        question, *lines = prompt.messages[-1].text.split("\n")
        asked, written = set(question.split()), self.topics.written
        topic = max(range(self.topics.num_topics), key=lambda t: len(asked & set(written.everyday[t])))
        if not is_known(topic):
            topic = rng.randrange(0, self.topics.num_topics, 2)
        shown = [line.split()[1:] for line in lines]
        weights = [len(asked & set(text)) ** 2 for text in shown]
        can_copy = any(weights)
        words = [
            rng.choice(
                rng.choices(shown, weights)[0] if can_copy and rng.random() < self.copies else written.technical[topic]
            )
            for _ in range(self.num_words)
        ]
        return said("assistant", " ".join(words))
