"""A trusted base of questions with answers as a world: an answer is read only through a question that is stored."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.envs.corpus.lexical import Bm25
from evolvent.envs.one_seat import OneSeat
from evolvent.envs.tools import validate
from evolvent.errors import BadInput, ToolError
from evolvent.records import Reference, Task, Tool

KEY = "world"
NOTHING = "nothing"  # what a search says that finds nothing


def _tool(name: str, about: str, parameters: Mapping[str, Any], required: Sequence[str]) -> Tool:
    return Tool(name, about, {"type": "object", "properties": parameters, "required": list(required)})


ASKED = {"question": {"type": "string"}}
QUESTION_RETRIEVER = _tool("QuestionRetriever", "stored questions like one", ASKED, ["question"])
ANSWER_RETRIEVER = _tool("AnswerRetriever", "answer to a stored question", ASKED, ["question"])
FINISH = _tool(
    "Finish",
    "end",
    {"status": {"enum": ["Success", "Failed"]}, "answer": {"type": "string", "default": ""}},
    ["status"],
)


@dataclass(frozen=True)
class Pairs:
    """The base that a task names: a function that gives pairs of question and answer, under the key `world`.

    What stands in the task's `data["removed"]` is not stored for it. A search shows the `k` stored questions that share
    most words with the one asked.
    """

    k: int = 3
    max_calls: int = 32

    def __post_init__(self) -> None:
        if min(self.k, self.max_calls) < 1:
            raise BadInput("the caps of a base must be positive", where="Pairs", got=f"k={self.k}")

    def open(self, task: Task, seed: int) -> OpenPairs:
        """A desk of its own for one episode; the index is shared."""
        data = task.private.data if task.private else {}
        if KEY not in data:
            raise BadInput(
                "the task names no base",
                where=task.task_id,
                wanted=f"private.data[{KEY!r}] = path and arguments of a function that gives pairs",
                cure="use a source of such tasks, as evolvent.tasks.knowledge:KnowledgeTasks",
            )
        store = _store(data[KEY]["path"], json.dumps(data[KEY].get("arguments", {}), sort_keys=True))
        return OpenPairs(self, store, frozenset(data.get("removed", ())))


@dataclass(frozen=True, eq=False)
class Store:
    """Stored questions, their answers, and what ranks them."""

    questions: tuple[str, ...]
    answers: Mapping[str, str]
    index: Bm25


class OpenPairs(OneSeat):
    """The base as one episode sees it; `Finish` changes nothing, it is the workflow that ends."""

    offered = (QUESTION_RETRIEVER, ANSWER_RETRIEVER, FINISH)

    def __init__(self, plan: Pairs, store: Store, removed: frozenset[str]) -> None:
        super().__init__(plan.max_calls, 4096)
        self.plan, self.store, self.removed = plan, store, removed

    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Look up, or acknowledge the end."""
        [tool] = [tool for tool in self.offered if tool.name == name]
        validate(tool, arguments)
        if name == FINISH.name:
            return str(arguments["status"])
        find = self._neighbours if name == QUESTION_RETRIEVER.name else self._answer
        return find(arguments["question"])

    def snapshot(self) -> bytes:
        """The number of calls."""
        return json.dumps({"num_calls": self.num_calls}).encode()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""
        self.num_calls = int(json.loads(state)["num_calls"])

    def _neighbours(self, question: str) -> str:
        hits = self.store.index.rank(question, self.plan.k + len(self.removed))
        found = [self.store.questions[hit.position] for hit in hits]
        return "\n".join([one for one in found if one not in self.removed][: self.plan.k]) or NOTHING

    def _answer(self, question: str) -> str:
        if question not in self.store.answers or question in self.removed:
            raise ToolError("no such stored question", cure=f"ask {QUESTION_RETRIEVER.name} for one")
        return self.store.answers[question]


@functools.lru_cache(maxsize=512)
def _store(maker: str, arguments: str) -> Store:
    pairs = tuple(Reference(maker, json.loads(arguments)).load()())
    questions = tuple(question for question, _ in pairs)
    if len(set(questions)) < len(questions):
        raise BadInput("a question is stored twice", where=maker, got=f"{len(questions)} pairs")
    return Store(questions, dict(pairs), Bm25(questions))
