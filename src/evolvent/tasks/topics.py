"""Topics whose documents use other words than the questions about them, all but a few bridges: a vocabulary gap."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.seeds import derive, stream
from evolvent.tasks.documents import Document
from evolvent.tasks.procedural import split_of

__all__ = ["TopicTasks", "Topics", "documents_of"]

FAMILY = "topics"
DISTRACTION = -1  # the topic of a document that has none
NUM_TEXTS = 500


@dataclass(frozen=True)
class Topics:
    """`num_topics` topics with words of their own: technical ones in their documents, everyday ones in questions.

    Only `num_bridges` of a topic's `num_documents` hold both kinds. Words come from pools that topics share, so that
    everyday ones mean several topics; `num_distractions` documents have everyday words and no topic.
    """

    num_topics: int = 150
    num_technical: int = 14
    num_everyday: int = 6
    num_documents: int = 8
    num_bridges: int = 2
    num_distractions: int = 600
    pool_technical: int = 2100
    pool_everyday: int = 200
    document_words: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"num_topics": 8, "num_technical": 1, "num_everyday": 4, "num_documents": self.num_bridges}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise BadInput("no such topics", where=name, got=getattr(self, name), wanted=f">= {number}")
        if self.pool_technical < self.num_technical or self.pool_everyday < self.num_everyday:
            raise BadInput("a pool with fewer words than a topic", where="Topics", got=self)

    @property
    def written(self) -> Written:
        """The words of the topics and their documents."""
        return _write(self)

    def sibling(self, number: int) -> Topics:
        """Other topics and documents in the same words."""
        return replace(self, seed=derive(self.seed, "sibling", number) >> 1)


@dataclass(frozen=True, eq=False)
class Written:
    """Of each topic its technical and everyday words; of each document its topic."""

    technical: tuple[tuple[str, ...], ...]
    everyday: tuple[tuple[str, ...], ...]
    documents: tuple[Document, ...]
    topics: tuple[int, ...]

    def relevant(self, topic: int) -> dict[str, float]:
        """The documents of a topic, each with grade 1."""
        return {doc.doc_id: 1.0 for doc, other in zip(self.documents, self.topics, strict=True) if other == topic}


def documents_of(**fields: int) -> tuple[Document, ...]:
    """The documents of `Topics(...)`, by name for a corpus."""
    return Topics(**fields).written.documents


def is_known(topic: int) -> bool:
    """Every second topic is one that may be taught."""
    return topic % 2 == 0


def ask(question: str, passages: Sequence[str] = ()) -> str:
    """The shortest form of a question, with numbered passages to read; every word stands behind a space."""
    return "\n".join((question, *(f"{number} {text}" for number, text in enumerate(passages, start=1))))


@dataclass(frozen=True)
class TopicTasks:
    """Questions about the topics, to be judged by a ranking of their documents; and what a writer learns from.

    Test tasks ask for any topic. Of train tasks a share `read_frac` show up to `num_shown` passages of another world,
    of `num_worlds`; some are bridges of the topic, and the reply is what one of them says in technical words. The
    others ask for a known topic of this world alone, to be answered from memory.
    """

    topics: Topics = Topics()
    read_frac: float = 0.7
    num_shown: int = 15
    num_worlds: int = 64

    @property
    def families(self) -> tuple[str, ...]:
        """One family."""
        return (FAMILY,)

    def levels(self, family: str) -> tuple[int, ...]:
        """One level."""
        return (1,)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: questions are drawn."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Question `index`."""
        if split not in ("train", "test"):
            raise BadInput(f"no split {split!r}", got=split, wanted="train or test")
        rng = stream(self.topics.seed, FAMILY, split, index)
        if split == "test":
            return self._made(index, split, *self._posed(self.topics, index % self.topics.num_topics, split, rng))
        if rng.random() < self.read_frac:
            other = self.topics.sibling(rng.randrange(self.num_worlds))
            return self._made(index, split, *self._reading(other, rng))
        known = [topic for topic in range(self.topics.num_topics) if is_known(topic)]
        return self._made(index, split, *self._posed(self.topics, rng.choice(known), split, rng))

    def texts(self) -> Iterator[str]:
        """What a vocabulary can be learned from: all words, and some tasks."""
        for kind, num in (("technical", self.topics.pool_technical), ("everyday", self.topics.pool_everyday)):
            yield from ("".join(f" {word}" for word in words(num, kind)),) * 20
        for index in range(NUM_TEXTS):
            yield self.task(FAMILY, 1, index).question

    def _posed(self, topics: Topics, topic: int, split: str, rng: Random) -> tuple[Topics, int, str, str]:
        """A question in three everyday words, and one of the topic's bridges as reply."""
        questions = _questions(topics, topic, split)
        while not questions:  # of few choices of few words, none may fall to a split: then another topic is asked for
            topic = (topic + 2) % topics.num_topics
            questions = _questions(topics, topic, split)
        return topics, topic, rng.choice(questions), _reply(topics, topic, rng.choice(_bridges(topics, topic)))

    def _reading(self, topics: Topics, rng: Random) -> tuple[Topics, int, str, str]:
        """A question with passages: bridges of its topic, others that share a word with it, and any others."""
        topic, question = self._posed(topics, rng.randrange(topics.num_topics), "train", rng)[1:3]
        bridges = list(_bridges(topics, topic))
        num = rng.randint(1, rng.randint(1, self.num_shown))  # one passage teaches to copy, several teach which
        own = rng.sample(bridges, rng.randint(1, min(num, len(bridges))))
        near = [d for word in question.split()[1:] for d in _holding(topics).get(word, ()) if d not in bridges]
        num_near = rng.randint(0, min(len(near), num - len(own)))
        shown = own + rng.sample(near, num_near)
        shown += rng.sample(topics.written.documents, num - len(shown))
        rng.shuffle(shown)
        return topics, topic, ask(question, [d.text for d in shown]), _reply(topics, topic, rng.choice(own))

    def _made(self, index: int, split: str, topics: Topics, topic: int, question: str, reply: str) -> Task:
        data = {"topic": topic, "is_known": is_known(topic), "relevant": topics.written.relevant(topic)}
        return Task(
            task_id=f"{FAMILY}-{split}-{self.topics.seed}-{index}",
            family=FAMILY,
            level=1,
            prompt=(said("user", question),),
            private=Private(reply, data, (said("assistant", reply),)),
            judge=Reference("evolvent.rewards.retrieval:check"),
            origin=Origin(how=FAMILY),
            split=split,
        )


@functools.lru_cache(maxsize=16)
def words(num: int, kind: str) -> tuple[str, ...]:
    """Made-up words of four letters; those of one kind are none of the other."""
    vowels = {"technical": "aei", "everyday": "ou"}[kind]
    syllables = ["".join(letters) for letters in itertools.product("bdfghjklmnprstvwz", vowels)]
    ends = "lnrs" if num > 500 else ("",)
    found = ["".join(parts) for parts in itertools.product(syllables, syllables, ends)]
    if num > len(found):
        raise BadInput("there are not so many words", where=f"pool_{kind}", got=num, wanted=f"<= {len(found)}")
    stream(0, "words", kind).shuffle(found)
    return tuple(found[:num])


@functools.lru_cache(maxsize=256)
def _write(topics: Topics) -> Written:
    rng = stream(topics.seed, "topics", topics.num_topics)
    technical, everyday = words(topics.pool_technical, "technical"), words(topics.pool_everyday, "everyday")
    of_topic = [
        (tuple(rng.sample(technical, topics.num_technical)), tuple(rng.sample(everyday, topics.num_everyday)))
        for _ in range(topics.num_topics)
    ]
    texts = []
    for topic, (hard, easy) in enumerate(of_topic):
        for number in range(topics.num_documents):
            plain = sorted(rng.sample(easy, 4), key=easy.index) if number < topics.num_bridges else []
            texts.append((topic, plain + rng.sample(hard, min(len(hard), topics.document_words - len(plain)))))
    for _ in range(topics.num_distractions):
        plain = rng.sample(everyday, 2)
        texts.append((DISTRACTION, rng.sample(technical, topics.document_words - len(plain)) + plain))
    rng.shuffle(texts)  # so that a document's place tells nothing where scores are equal
    return Written(
        technical=tuple(hard for hard, _ in of_topic),
        everyday=tuple(easy for _, easy in of_topic),
        documents=tuple(Document(f"d{i}", " ".join(text)) for i, (_, text) in enumerate(texts)),
        topics=tuple(topic for topic, _ in texts),
    )


def _reply(topics: Topics, topic: int, bridge: Document) -> str:
    """What a bridge says in technical words."""
    easy = set(topics.written.everyday[topic])
    return f": {' '.join(word for word in bridge.text.split() if word not in easy)}"


@functools.lru_cache(maxsize=8192)
def _questions(topics: Topics, topic: int, split: str) -> tuple[str, ...]:
    """Three of a topic's everyday words, in their order, where that falls to the split."""
    asked = (f"? {' '.join(some)}" for some in itertools.combinations(topics.written.everyday[topic], 3))
    return tuple(question for question in asked if split_of(FAMILY, question) == split)


@functools.lru_cache(maxsize=8192)
def _bridges(topics: Topics, topic: int) -> tuple[Document, ...]:
    """The documents of a topic that hold everyday words."""
    written = topics.written
    easy = set(written.everyday[topic])
    own = (d for d, other in zip(written.documents, written.topics, strict=True) if other == topic)
    return tuple(d for d in own if easy & set(d.text.split()))


@functools.lru_cache(maxsize=256)
def _holding(topics: Topics) -> dict[str, list[Document]]:
    """Of each everyday word the documents that hold it."""
    easy = {word for some in topics.written.everyday for word in some}
    found: dict[str, list[Document]] = {}
    for document in topics.written.documents:
        for word in set(document.text.split()) & easy:
            found.setdefault(word, []).append(document)
    return found
