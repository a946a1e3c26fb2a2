"""A made-up knowledge base: people, places and who is what to whom, told as triples, asked for in one hop or two.

A part of what it holds is marked unseen: nobody who was taught the rest can know it. Some of what may be asked it does
not hold at all, and names resemble each other, so that what is missing has neighbours that look like it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

from evolvent.errors import BadInput, nearest
from evolvent.records import Message, Origin, Private, Reference, Task, said
from evolvent.seeds import derive, stream
from evolvent.tasks.procedural import split_of

__all__ = ["UNKNOWN", "Fact", "KnowledgeBase", "KnowledgeTasks", "Question", "pairs_of"]

OF_PEOPLE = ("boss", "friend", "tutor")  # a person's person
PLACES = ("home", "school")  # a person's place; "place" may mean either
OF_PLACES = ("head", "guard")  # a place's person
VAGUE = {"place": PLACES}
FAMILIES = ("facts", "one_hop", "two_hop", "vague")
UNKNOWN = "unknown"  # the answer to what cannot be answered
MAX_PEOPLE = 480  # names of four letters do not reach further
MAX_DRAWS = 1000
NUM_TEXTS = 400


@dataclass(frozen=True, slots=True)
class Fact:
    """A triple; `is_seen` says whether it belongs to what may be taught."""

    subject: str
    relation: str
    object: str
    is_seen: bool = True

    @property
    def asked(self) -> str:
        """The fact as a question: what a stored pair is found by."""
        return f"{self.subject}'s {self.relation}"

    @property
    def line(self) -> str:
        """The fact as a line of text."""
        return f"{self.asked}:{self.object}"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a person, the relations to follow, and the facts that answer it (none where nothing does)."""

    subject: str
    relations: tuple[str, ...]
    chain: tuple[Fact, ...]

    @property
    def words(self) -> str:
        """The question itself: bapo's home's head?"""
        return "".join((self.subject, *(f"'s {relation}" for relation in self.relations), "?"))

    @property
    def answer(self) -> str:
        """The object of the last fact, or that it is unknown."""
        return self.chain[-1].object if self.chain else UNKNOWN

    @property
    def is_seen(self) -> bool:
        """Whether every fact behind it may be taught."""
        return all(fact.is_seen for fact in self.chain)


@dataclass(frozen=True)
class KnowledgeBase:
    """`num_people` people and a quarter as many places; shares of the facts are missing, and of the others unseen.

    Of places so many, `vacant_frac`, have no head, and so many no guard.

    Names come in pairs that differ in their last letter. Bases of other seeds have the same names and other facts.
    """

    num_people: int = 32
    unseen_frac: float = 0.25
    missing_frac: float = 0.1
    vacant_frac: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.num_people <= MAX_PEOPLE or self.num_people % 8:
            raise BadInput("no such base", where="num_people", got=self.num_people, wanted=f"8, 16, ... {MAX_PEOPLE}")
        for name in ("unseen_frac", "missing_frac", "vacant_frac"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput("not a share", where=name, got=getattr(self, name), wanted="from 0 to below 1")

    @property
    def people(self) -> tuple[str, ...]:
        """Their names; 2i and 2i + 1 look alike."""
        return names(self.num_people, "people")

    @property
    def places(self) -> tuple[str, ...]:
        """Their names, which no person has."""
        return names(self.num_people // 4, "places")

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All that is true and stored."""
        return tuple(_facts(self).values())

    def find(self, subject: str, relation: str) -> Fact | None:
        """The stored fact about a subject, if there is one."""
        return _facts(self).get((subject, relation))

    def answers(self, subject: str, relations: tuple[str, ...]) -> tuple[tuple[Fact, ...], ...]:
        """Every chain of stored facts that answers; a vague relation is followed both ways."""
        found: list[tuple[Fact, ...]] = []
        for meant in itertools.product(*(VAGUE.get(r, (r,)) for r in relations)):
            chain, at = [], subject
            for relation in meant:
                fact = self.find(at, relation)
                if fact is None:
                    break
                chain.append(fact)
                at = fact.object
            else:
                found.append(tuple(chain))
        return tuple(found)


def pairs_of(**fields: Any) -> tuple[tuple[str, str], ...]:
    """The facts of `KnowledgeBase(...)` as stored questions with their answers."""
    return tuple((fact.asked, fact.object) for fact in KnowledgeBase(**fields).facts)


def ask_one_hop(base: KnowledgeBase, rng: Random) -> Question:
    """bapo's boss?"""
    return _asked(base, rng.choice(base.people), (rng.choice((*OF_PEOPLE, *PLACES)),))


def ask_two_hop(base: KnowledgeBase, rng: Random) -> Question:
    """bapo's boss's tutor?, or bapo's home's head?"""
    first = rng.choice((*OF_PEOPLE, *PLACES))
    second = rng.choice(OF_PLACES if first in PLACES else (*OF_PEOPLE, *PLACES))
    return _asked(base, rng.choice(base.people), (first, second))


def ask_vaguely(base: KnowledgeBase, rng: Random) -> Question:
    """bapo's place's head?: of the home or of the school, whichever has one; of both is not asked."""
    return _asked(base, rng.choice(base.people), ("place", rng.choice(OF_PLACES)))


ASK: dict[str, Callable[[KnowledgeBase, Random], Question]] = {
    "one_hop": ask_one_hop,
    "two_hop": ask_two_hop,
    "vague": ask_vaguely,
}

Tell = Callable[[KnowledgeBase, Question, Random], tuple[Message, ...]]
"""A worked solution of a question, in whatever protocol is taught."""


def tell_answer(base: KnowledgeBase, question: Question, rng: Random) -> tuple[Message, ...]:
    """The answer alone."""
    return (said("assistant", question.answer),)


@dataclass(frozen=True)
class KnowledgeTasks:
    """Questions about a base, and `facts`: its bare lines, the seen ones in train, the others in test.

    Train questions are about seen facts, test questions are others, about seen and (unless `only_seen`) unseen facts.
    With `num_others` training goes round so many other bases instead, so that only who looks things up can know, and
    every question about this one is a test. `unknown_frac` of the questions have no answer. `tell` writes the worked
    solution; `lines` are texts of a protocol, for a vocabulary.
    """

    base: KnowledgeBase = KnowledgeBase()
    names: tuple[str, ...] = ("one_hop", "two_hop")
    unknown_frac: float = 0.0
    only_seen: bool = False
    num_others: int = 0
    tell: Tell = tell_answer
    lines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in FAMILIES:
                raise BadInput("no such questions", where="names", got=name, cure=nearest(name, list(FAMILIES)))

    @property
    def families(self) -> tuple[str, ...]:
        """Of `facts`, `one_hop`, `two_hop` and `vague`."""
        return self.names

    def levels(self, family: str) -> tuple[int, ...]:
        """One level."""
        return (1,)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """As many lines as there are facts; questions are drawn."""
        return len(_lines(self.base, split)) if family == "facts" else None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Question `index`, or line `index`."""
        if split not in ("train", "test"):
            raise BadInput(f"no split {split!r}", got=split, wanted="train or test")
        is_other = self.num_others and split == "train"
        base = _sibling(self.base, index % self.num_others) if is_other else self.base
        rng = stream(self.base.seed, "knowledge", family, split, index)
        question = self._line(index, split) if family == "facts" else self._draw(family, base, split, rng)
        words = question.words.rstrip("?") if family == "facts" else question.words
        return Task(
            task_id=f"{family}-{split}-{self.base.seed}-{index}",
            family=family,
            level=level,
            prompt=(said("user", words),),
            private=Private(question.answer, _described(base, question), self.tell(base, question, rng)),
            judge=Reference("evolvent.rewards.verify:exact"),
            origin=Origin(how="knowledge"),
            split=split,
        )

    def texts(self) -> Iterator[str]:
        """What teaches a vocabulary: all names and relations, and some tasks."""
        yield from (fact.line for fact in self.base.facts)
        yield from self.lines * NUM_TEXTS
        for family, index in itertools.product(self.names, range(NUM_TEXTS)):
            task = self.task(family, 1, index)
            assert task.private is not None
            yield task.question
            yield from (message.text for message in task.private.solution)

    def _line(self, index: int, split: str) -> Question:
        lines = _lines(self.base, split)
        fact = lines[index % len(lines)]
        return Question(fact.subject, (fact.relation,), (fact,))

    def _draw(self, family: str, base: KnowledgeBase, split: str, rng: Random) -> Question:
        """A question of the split, answerable or not as a coin falls; train questions rest on seen facts."""
        has_answer = rng.random() >= self.unknown_frac
        for wanted in [has_answer] * MAX_DRAWS + [not has_answer] * MAX_DRAWS:  # a small base may lack one kind
            question = ASK[family](base, rng)
            is_allowed = question.is_seen or (split == "test" and not self.only_seen)
            is_clear = bool(question.chain) or not base.answers(question.subject, question.relations)
            fits = bool(question.chain) == wanted and is_allowed and is_clear
            if fits and (self.num_others or split_of(family, question.words) == split):
                return question
        raise BadInput(
            f"no {family} question in {2 * MAX_DRAWS} draws",
            where=f"split {split}",
            got=f"missing_frac={base.missing_frac}, unknown_frac={self.unknown_frac}",
            cure="a larger base",
        )


@functools.lru_cache(maxsize=64)
def names(num: int, kind: str) -> tuple[str, ...]:
    """Names of four letters, in pairs that differ in the last one."""
    rng = stream(0, "names", kind)
    consonants = "bdfgklm" if kind == "people" else "nprstvz"
    stems = ["".join(letters) for letters in itertools.product(consonants, "aeiou", consonants)]
    rng.shuffle(stems)
    return tuple(stem + end for stem in stems[: -(-num // 2)] for end in ("a", "o"))[:num]


@functools.lru_cache(maxsize=256)
def _facts(base: KnowledgeBase) -> dict[tuple[str, str], Fact]:
    rng = stream(base.seed, "facts", base.num_people)
    of_people, of_places = base.missing_frac, base.vacant_frac
    cells = [(p, r, base.people, of_people) for p in base.people for r in OF_PEOPLE]
    cells += [(p, r, base.places, of_people) for p in base.people for r in PLACES]
    cells += [(p, r, base.people, of_places) for p in base.places for r in OF_PLACES]
    made: dict[tuple[str, str], Fact] = {}
    for subject, relation, pool, missing in cells:
        taken = {fact.object for (s, _), fact in made.items() if s == subject} | {subject}
        other = rng.choice([name for name in pool if name not in taken])
        is_missing, is_seen = rng.random() < missing, rng.random() >= base.unseen_frac
        if not is_missing:
            made[subject, relation] = Fact(subject, relation, other, is_seen)
    return made


@functools.lru_cache(maxsize=256)
def _lines(base: KnowledgeBase, split: str) -> tuple[Fact, ...]:
    return tuple(fact for fact in base.facts if fact.is_seen == (split == "train"))


@functools.lru_cache(maxsize=256)
def _sibling(base: KnowledgeBase, number: int) -> KnowledgeBase:
    return replace(base, seed=derive(base.seed, "base", number) >> 1)


def _asked(base: KnowledgeBase, subject: str, relations: tuple[str, ...]) -> Question:
    found = base.answers(subject, relations)
    # two answers are none: the question does not say which of them is meant
    return Question(subject, relations, found[0] if len({chain[-1].object for chain in found}) == 1 else ())


def _described(base: KnowledgeBase, question: Question) -> dict[str, object]:
    """What judges and worlds read: the base as a world of pairs, and the facts behind the answer."""
    return {
        "base": asdict(base),
        "world": {"path": "evolvent.tasks.knowledge:pairs_of", "arguments": asdict(base)},
        "subject": question.subject,
        "relations": list(question.relations),
        "chain": [[fact.subject, fact.relation, fact.object] for fact in question.chain],
        "is_seen": question.is_seen,
        "is_answerable": bool(question.chain),
    }
