"""Documents as a world: an agent searches them and fetches what it wants to read."""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.envs.corpus.dense import Dense, Embed, Fused
from evolvent.envs.corpus.lexical import Bm25, Hit, Ranker
from evolvent.envs.one_seat import OneSeat
from evolvent.envs.toolbox import cut
from evolvent.envs.tools import validate
from evolvent.errors import BadInput, ToolError, nearest
from evolvent.records import Reference, Task, Tool
from evolvent.tasks.documents import Document, read_documents

DEFAULT_K = 3  # passages that published search agents are shown

FETCH = Tool(
    "fetch",
    "Give the whole text of a document.",
    {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
)
SEARCH = Tool(
    "search",
    "Find documents that fit a query, best first.",
    {
        "type": "object",
        "properties": {"query": {"type": "string"}, "k": {"type": "integer", "default": DEFAULT_K}},
        "required": ["query"],
    },
)


@dataclass(frozen=True)
class Corpus:
    """A world of documents: a path to them, a function that gives them, or the documents themselves.

    BM25 ranks them by words; with `embed` their embeddings rank them too, and both rankings are fused. An agent has
    `max_calls` calls; a search shows at most `max_k` documents, each cut to `snippet_bytes`; `fetch` shows `max_bytes`.
    """

    documents: str | Reference | tuple[Document, ...]
    embed: Embed | None = None
    max_calls: int = 8
    max_k: int = 10
    snippet_bytes: int = 256
    max_bytes: int = 4096

    def __post_init__(self) -> None:
        if min(self.max_calls, self.max_k, self.snippet_bytes, self.max_bytes) < 1:
            raise BadInput("the caps of a corpus must be positive", where="Corpus", got=_caps(self))

    def open(self, task: Task, seed: int) -> OpenCorpus:
        """A desk of its own for one episode; the index is shared."""
        return OpenCorpus(self, self.shelf)

    @property
    def shelf(self) -> Shelf:
        """The documents with their index, made once."""
        if isinstance(self.documents, str):
            return _shelf_at(self.documents, _stamp(Path(self.documents)), self.embed)
        if isinstance(self.documents, Reference):
            return _shelf_of(self.documents.path, json.dumps(dict(self.documents.arguments)), self.embed)
        return _shelve(self.documents, self.embed)


@dataclass(frozen=True, eq=False)
class Shelf:
    """Documents and what ranks them."""

    documents: tuple[Document, ...]
    ranker: Ranker
    places: Mapping[str, int]

    def search(self, query: str, k: int) -> list[tuple[Document, float]]:
        """The `k` best documents with their scores."""
        return [(self.documents[hit.position], hit.score) for hit in self.rank(query, k)]

    def rank(self, query: str, k: int) -> tuple[Hit, ...]:
        """The same as positions."""
        return self.ranker.rank(query, k)


class OpenCorpus(OneSeat):
    """The corpus as one episode sees it; nothing in it changes but the number of calls."""

    offered = (SEARCH, FETCH)

    def __init__(self, plan: Corpus, shelf: Shelf) -> None:
        # a search may show max_k snippets; each tool cuts its own, so that whole lines stay whole
        super().__init__(plan.max_calls, max(plan.max_bytes, plan.max_k * (plan.snippet_bytes + 256)))
        self.plan, self.shelf = plan, shelf

    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Search or fetch."""
        if name == "fetch":
            validate(FETCH, arguments)
            return cut(self._fetched(arguments["id"]).whole, self.plan.max_bytes)
        validate(SEARCH, arguments)
        k = arguments.get("k", DEFAULT_K)
        if not 1 <= k <= self.plan.max_k:
            raise ToolError(f"search: 'k' is {k}", wanted=f"1 to {self.plan.max_k}")
        found = self.shelf.search(arguments["query"], k)
        return "\n".join(self._line(document) for document, _ in found) or "nothing found"

    def snapshot(self) -> bytes:
        """The number of calls."""
        return json.dumps({"num_calls": self.num_calls}).encode()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""
        self.num_calls = int(json.loads(state)["num_calls"])

    def _fetched(self, doc_id: str) -> Document:
        place = self.shelf.places.get(doc_id)
        if place is None:
            raise ToolError(f"there is no document {doc_id!r}", cure=nearest(doc_id, list(self.shelf.places)[:1000]))
        return self.shelf.documents[place]

    def _line(self, document: Document) -> str:
        title = f"{document.title}: " if document.title else ""
        return f"[{document.doc_id}] " + cut(" ".join(f"{title}{document.text}".split()), self.plan.snippet_bytes)


@functools.lru_cache(maxsize=8)
def _shelf_at(path: str, stamp: Hashable, embed: Embed | None) -> Shelf:
    return _shelve(read_documents(path), embed)


@functools.lru_cache(maxsize=64)
def _shelf_of(path: str, arguments: str, embed: Embed | None) -> Shelf:
    return _shelve(tuple(Reference(path, json.loads(arguments)).load()()), embed)


@functools.lru_cache(maxsize=64)
def _shelve(documents: tuple[Document, ...], embed: Embed | None) -> Shelf:
    if not documents or not all(isinstance(one, Document) for one in documents):
        raise BadInput("these are no documents", where="Corpus.documents", got=documents, wanted="Documents")
    places = {document.doc_id: place for place, document in enumerate(documents)}
    if len(places) < len(documents):
        raise BadInput("two documents have one id", where="Corpus.documents", got=f"{len(documents)} documents")
    texts = [document.whole for document in documents]
    lexical = Bm25(texts)
    return Shelf(documents, lexical if embed is None else Fused((lexical, Dense(texts, embed))), places)


def _stamp(path: Path) -> Hashable:
    """What changes when a file does: an index is never older than its documents."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in files if p.is_file())


def _caps(plan: Corpus) -> str:
    names = ("max_calls", "max_k", "snippet_bytes", "max_bytes")
    return ", ".join(f"{name}={getattr(plan, name)}" for name in names)
