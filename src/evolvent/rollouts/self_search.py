"""A reply that thinks, asks, finds by itself what a search engine would, and answers; an engine may step in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from statistics import fmean

from evolvent.envs.corpus import Corpus
from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Task
from evolvent.rollouts.seat import Seat
from evolvent.rollouts.workflows import Answer, Team

THINK, SEARCH, INFORMATION, ANSWER = KINDS = ("think", "search", "information", "answer")


@dataclass(frozen=True, slots=True)
class Tag:
    """The two marks around a part of a reply."""

    opens: str
    closes: str

    def around(self, text: str) -> str:
        """The text between its marks."""
        return f"{self.opens}{text}{self.closes}"


@dataclass(frozen=True, slots=True)
class Tags:
    """The four parts of a reply."""

    think: Tag
    search: Tag
    information: Tag
    answer: Tag

    def __post_init__(self) -> None:
        if not all(self.marks) or len(set(self.marks)) < len(self.marks):
            raise BadInput("tags that cannot be told apart", where="Tags", got=self.marks, wanted="eight marks")

    @property
    def by_kind(self) -> dict[str, Tag]:
        """Each tag by the name of its part."""
        return {kind: getattr(self, kind) for kind in KINDS}

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks."""
        return tuple(mark for tag in self.by_kind.values() for mark in (tag.opens, tag.closes))


def named(*names: str) -> Tags:
    """Tags as in XML: <think> and </think>."""
    return Tags(*(Tag(f"<{name}>", f"</{name}>") for name in names))


PUBLISHED = named(*KINDS)
BRACKETS = Tags(Tag("{", "}"), Tag("[", "]"), Tag("<", ">"), Tag("(", ")"))
"""The same in one letter each, for models whose every token counts."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a reply; `before` is what stands between it and the one before, which should be space."""

    kind: str
    text: str
    before: str


def read_parts(reply: str, tags: Tags) -> tuple[list[Part], str]:
    """The parts of a reply in order, and what is left where no further part is whole.

    A part begins at the first opening mark and ends at the next closing mark of the same tag.
    """
    found: list[Part] = []
    at = 0
    while opening := _first_opening(reply, at, tags):
        start, kind = opening
        tag = tags.by_kind[kind]
        end = reply.find(tag.closes, start + len(tag.opens))
        if end < 0:
            break
        found.append(Part(kind, reply[start + len(tag.opens) : end], reply[at:start]))
        at = end + len(tag.closes)
    return found, reply[at:]


def last_answer(reply: str, tags: Tags) -> str:
    """What stands in the last answer of a reply, whatever surrounds it; empty where there is none."""
    tag = tags.answer
    end = reply.rfind(tag.closes)
    start = reply.rfind(tag.opens, 0, max(end, 0))
    return reply[start + len(tag.opens) : end].strip() if 0 <= start < end else ""


def _first_opening(reply: str, at: int, tags: Tags) -> tuple[int, str] | None:
    places = ((reply.find(tag.opens, at), kind) for kind, tag in tags.by_kind.items())
    return min(((place, kind) for place, kind in places if place >= 0), default=None)


# ---------------------------------------------------------------- one pass, without an engine


@dataclass(frozen=True, slots=True)
class SelfSearch:
    """The whole reply in one go: the policy asks, and writes what was found itself."""

    tags: Tags = PUBLISHED
    begins: str = ""  # how every reply begins, where that is given

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode; nothing but the policy is asked."""
        reply = await team["agent"].say(*task.prompt, given=self.begins)
        return Answer(last_answer(reply.text, self.tags), {"num_real": 0, "num_engine_calls": 0})


# ---------------------------------------------------------------- an engine steps in

Engine = Callable[[Task, str], str]
"""What is found for a query: the text of the information, without its marks."""


@dataclass(frozen=True)
class Indexed:
    """An engine over documents: the text of the `k` best, one below the other; the published one gives three."""

    corpus: Corpus
    k: int = 3

    def __call__(self, task: Task, query: str) -> str:
        """What a real index finds."""
        found = self.corpus.shelf.search(query, self.k)
        return "\n".join(document.text for document, _ in found) or "nothing found"


Route = Callable[[list[float]], bool]
"""Whether the last of these queries, told by their entropies in bits, goes to the engine."""


@dataclass(frozen=True, slots=True)
class First:
    """The first `num` queries are real, and those behind them are not; all of them where it is None."""

    num: int | None = None

    def __call__(self, entropies: list[float]) -> bool:
        """Whether the last query is real."""
        return self.num is None or len(entropies) <= self.num


@dataclass(frozen=True, slots=True)
class Rising:
    """The first query is real; a later one where the policy was less sure of its words than at the query before."""

    def __call__(self, entropies: list[float]) -> bool:
        """Whether the last query is real."""
        return len(entropies) < 2 or entropies[-1] > entropies[-2]


@dataclass(frozen=True, slots=True)
class EngineSearch:
    """The same policy with an engine: a reply stops behind a query, is given what was found, and goes on.

    `route` says which queries are real; the others the policy answers itself, as it learned to. Behind `max_queries`
    the reply goes on by itself.
    """

    engine: Engine
    tags: Tags = PUBLISHED
    route: Route = First()
    max_queries: int = 8
    glue: str = "\n"  # between a query and its information

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        agent, search = team["agent"], self.tags.search
        reply, bits, num_real = (await agent.say(*task.prompt, stops=(search.opens,))).text, list[float](), 0
        while search.opens in reply and len(bits) < self.max_queries:
            query, closing, begun = (await agent.go_on(stops=(search.closes,))).text.partition(search.closes)
            if not closing:
                break
            bits.append(surprise(agent))
            is_real = self.route(bits)
            num_real += is_real
            given = self._found(task, query, begun) if is_real else ""
            stops = (search.opens,) if len(bits) < self.max_queries else ()
            reply = (await agent.go_on(given, stops)).text
        told = {"num_real": num_real, "num_engine_calls": num_real, "query_bits": bits}
        return Answer(last_answer(reply, self.tags), told)

    def _found(self, task: Task, query: str, begun: str) -> str:
        """What the environment writes; a token that ended the query may have begun this already."""
        found = self.tags.information.around(self.engine(task, query.strip()))
        return found.removeprefix(begun.strip()) if begun.strip() else (self.glue if not begun else "") + found


def surprise(agent: Seat) -> float:
    """Bits a token of what was just said: the mean of -log2 p of its tokens.

    In expectation that is the entropy of the whole distribution. -p log2 p of the sampled token alone, as in the
    release, is not: it goes to 0 for what the policy itself hardly believes.
    """
    return -fmean(agent.turns[-1].model_logprobs) / log(2)
