"""How good a ranking is: nDCG@k, average precision and recall against graded relevance, and TREC run files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput
from evolvent.records import Score, Task

Relevance = Mapping[str, float]
"""Documents by id with their grade; 0, or absent, is not relevant."""

RANKING = "ranking"  # where an episode's evidence holds its ranking
RELEVANT = "relevant"  # where a task's private data holds the grades


def ndcg(ranking: Sequence[str], relevant: Relevance, k: int = 10) -> float:
    """DCG of the first k over the best that could be: grade / log2(place + 1); 0 where nothing is relevant."""
    gained = sum(_grade(relevant, doc) / math.log2(place + 1) for place, doc in enumerate(_once(ranking)[:k], 1))
    grades = sorted((g for g in relevant.values() if g > 0), reverse=True)[:k]
    most = sum(grade / math.log2(place + 1) for place, grade in enumerate(grades, 1))
    return gained / most if most else 0.0


def average_precision(ranking: Sequence[str], relevant: Relevance) -> float:
    """The mean over relevant documents of the precision at their place; one that is not found counts 0."""
    found, total = 0, 0.0
    for place, doc in enumerate(_once(ranking), 1):
        if _grade(relevant, doc) > 0:
            found += 1
            total += found / place
    num = sum(grade > 0 for grade in relevant.values())
    return total / num if num else 0.0


def recall(ranking: Sequence[str], relevant: Relevance, k: int = 100) -> float:
    """The share of relevant documents among the first k."""
    num = sum(grade > 0 for grade in relevant.values())
    found = sum(_grade(relevant, doc) > 0 for doc in _once(ranking)[:k])
    return found / num if num else 0.0


def ordered(scores: Mapping[str, float]) -> list[str]:
    """Documents by score, highest first; of equal scores the id that comes last first, as trec_eval orders them."""
    return sorted(sorted(scores, reverse=True), key=lambda doc: -scores[doc])


@dataclass(frozen=True)
class Ndcg:
    """A check: nDCG@k of the ranking that an episode ended with; a task names its relevant documents."""

    k: int = 10

    def __call__(self, task: Task, answer: str, evidence: Mapping[str, Any]) -> Score:
        """The score, with average precision and recall@100 beside it."""
        if task.private is None or RELEVANT not in task.private.data:
            raise BadInput("the task names no relevant documents", where=task.task_id, wanted=f"data[{RELEVANT!r}]")
        relevant: Relevance = task.private.data[RELEVANT]
        ranking = list(evidence.get(RANKING, ()))
        value = ndcg(ranking, relevant, self.k)
        parts = {"map": average_precision(ranking, relevant), "recall_100": recall(ranking, relevant)}
        return Score(value, {f"ndcg_{self.k}": value, **parts}, f"nDCG@{self.k} of {len(ranking)} documents")


def check(task: Task, answer: str, evidence: Mapping[str, Any]) -> Score:
    """nDCG@10 of the ranking that an episode ended with."""
    return Ndcg()(task, answer, evidence)


Run = Mapping[str, Sequence[tuple[str, float]]]
"""Of each query its documents with their scores, best first."""


def write_run(run: Run, path: Path, tag: str = "evolvent") -> None:
    """A TREC run file: `query Q0 document rank score tag`, one line a document."""
    lines = [
        f"{query} Q0 {doc} {rank} {score:.6f} {tag}"
        for query, found in run.items()
        for rank, (doc, score) in enumerate(found, 1)
    ]
    for line in lines:
        if len(line.split()) != 6:
            raise BadInput("a name in a run file cannot be empty or hold spaces", where=str(path), got=line)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def read_run(path: Path) -> dict[str, list[tuple[str, float]]]:
    """The run in a file, each query's documents in the order of their scores (not of the ranks, as trec_eval does)."""
    found: dict[str, dict[str, float]] = {}
    for query, _, doc, _, score, _ in _fields(path, 6):
        if doc in found.setdefault(query, {}):
            raise BadInput("a document stands twice in a ranking", where=str(path), got=f"{query} {doc}")
        found[query][doc] = _number(score, path)
    return {query: [(doc, scores[doc]) for doc in ordered(scores)] for query, scores in found.items()}


def read_relevance(path: Path) -> dict[str, dict[str, float]]:
    """A TREC relevance file: `query 0 document grade`."""
    found: dict[str, dict[str, float]] = {}
    for query, _, doc, grade in _fields(path, 4):
        found.setdefault(query, {})[doc] = _number(grade, path)
    return found


def _fields(path: Path, num: int) -> Iterable[list[str]]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if line.strip():
            fields = line.split()
            if len(fields) != num:
                where = f"{path}, line {number}"
                raise BadInput("a line with another number of fields", where=where, got=line[:80], wanted=f"{num}")
            yield fields


def _number(text: str, path: Path) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BadInput("not a number", where=str(path), got=text) from error


def _grade(relevant: Relevance, doc: str) -> float:
    return max(0.0, relevant.get(doc, 0.0))


def _once(ranking: Sequence[str]) -> list[str]:
    """A document that is named again gains nothing by it."""
    return list(dict.fromkeys(ranking))
