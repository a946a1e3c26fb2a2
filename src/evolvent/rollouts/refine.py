"""Retriever and model refine each other: what the model writes finds documents, and these it reads to write again."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evolvent.envs.corpus import Dense, Document, Hit, OpenCorpus, Shelf
from evolvent.envs.corpus.dense import Embed, vectors
from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Message, Task, said
from evolvent.rollouts.seat import Seat
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import stream

Find = Callable[[Shelf, str, Sequence[str], int], Sequence[Hit]]
"""The documents to be read next: for a question and the passages written so far, so many of a shelf."""

Ask = Callable[[str, Sequence[str]], str]
"""The words in which a passage is asked for: of a question, and of documents to read where there are any."""


def enlarge(question: str, passages: Sequence[str]) -> str:
    """The query of h passages: the question h times, then they; without any it is the question.

    What the question weighs beside the passages depends on h, so an empty passage counts as one.
    """
    return " ".join([question] * max(1, len(passages)) + list(passages))


def by_words(shelf: Shelf, question: str, passages: Sequence[str], k: int) -> Sequence[Hit]:
    """What the enlarged query finds."""
    return shelf.rank(enlarge(question, passages), k)


@dataclass(frozen=True)
class ByMeanVector:
    """What is nearest to the mean of h + 1 embeddings: the question's and those of all h passages."""

    embed: Embed

    def __call__(self, shelf: Shelf, question: str, passages: Sequence[str], k: int) -> Sequence[Hit]:
        """The `k` nearest."""
        return _dense(shelf.documents, self.embed).rank_vector(self.vector(question, passages), k)

    def vector(self, question: str, passages: Sequence[str]) -> np.ndarray:
        """(E(q) + the sum of E(s)) / (h + 1)."""
        mean_W: np.ndarray = vectors(self.embed, [question, *passages]).mean(0)
        return mean_W


@dataclass(frozen=True)
class AtRandom:
    """The control: documents that have nothing to do with the question."""

    seed: int = 0

    def __call__(self, shelf: Shelf, question: str, passages: Sequence[str], k: int) -> Sequence[Hit]:
        """Any `k`."""
        rng = stream(self.seed, "any documents", question, *passages)
        places = rng.sample(range(len(shelf.documents)), min(k, len(shelf.documents)))
        return [Hit(place, 0.0) for place in places]


def ask_in_words(question: str, documents: Sequence[str]) -> str:
    """What a chat model is asked."""
    if not documents:
        return f"Please write a passage that answers the question.\nQuestion: {question}\nPassage:"
    shown = "\n".join(f"{number}. {text}" for number, text in enumerate(documents, start=1))
    return (
        "Below are a question and passages that may answer it, not all of them correctly. Please write a correct "
        f"passage that answers the question.\nQuestion: {question}\nPassages:\n{shown}\nPassage:"
    )


@dataclass(frozen=True)
class Refine:
    """`rounds` times, every seat of the team writes a passage; between rounds documents are found for them to read.

    There are as many passages as seats (h), each written in a context of its own. A seat that the world knows is shown
    its tools, which nobody calls here: call them otherwise than "agent". The answer is the enlarged query;
    the episode's `ranking` holds the `depth` documents that it finds by words. No round is plain retrieval.
    """

    rounds: int = 2
    shown: int = 15  # documents to read, as published
    depth: int = 1000
    passage_tokens: int | None = None
    find: Find = by_words
    ask: Ask = ask_in_words

    def __post_init__(self) -> None:
        if self.rounds < 0 or min(self.shown, self.depth) < 1:
            raise BadInput("no such rounds", where="Refine", got=self, wanted="rounds >= 0, shown and depth >= 1")

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one question."""
        shelf = _shelf(world)
        question, rounds = task.question, []
        passages: list[str] = []
        for number in range(self.rounds):
            hits = self.find(shelf, question, passages, self.shown) if number else ()
            documents = [shelf.documents[hit.position] for hit in hits]
            asked = said("user", self.ask(question, [document.whole for document in documents]))
            passages = list(await asyncio.gather(*(self._write(seat, asked) for seat in team.values())))
            rounds.append({"shown": [document.doc_id for document in documents], "passages": passages})
        query = enlarge(question, passages)
        ranking = [shelf.documents[hit.position].doc_id for hit in shelf.rank(query, self.depth)]
        return Answer(query, {"ranking": ranking, "rounds": rounds})

    async def _write(self, seat: Seat, asked: Message) -> str:
        """One passage; a seat forgets the round before, whose passages reach it through what they found."""
        seat.go_back()
        return (await seat.say(asked, max_tokens=self.passage_tokens)).text.strip()


async def recite_passage(task: Task, team: Team, world: World) -> Answer:
    """A demonstration: the first seat says the passage of the task's worked solution."""
    if task.private is None or not task.private.solution:
        raise BadInput("a task without a worked solution cannot be demonstrated", where=task.task_id)
    [passage] = task.private.solution
    seat = next(iter(team.values()))
    return Answer(seat.recite(passage, *task.prompt).text)


def _shelf(world: World) -> Shelf:
    if not isinstance(world, OpenCorpus):
        raise BadInput("nothing to search", got=type(world).__name__, cure="world=evolvent.envs.corpus:Corpus(...)")
    return world.shelf


@functools.lru_cache(maxsize=8)
def _dense(documents: tuple[Document, ...], embed: Embed) -> Dense:
    return Dense([document.whole for document in documents], embed)
