"""A source whose demonstrations are wrong in a share of cases, while its answers stay true."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from evolvent.errors import BadInput
from evolvent.records import Private, Task, said
from evolvent.seeds import stream
from evolvent.tasks.source import Source

__all__ = ["Mislabelled", "next_digit", "other_digit"]

Wrong = Callable[[str, random.Random], str]


def other_digit(answer: str, rng: random.Random) -> str:
    """The answer with another last digit, all nine alike: errors that scatter."""
    return answer[:-1] + str((_last_digit(answer) + rng.randint(1, 9)) % 10)


def next_digit(answer: str, rng: random.Random) -> str:
    """The answer with the next last digit, 0 after 9: everybody's error is the same."""
    return answer[:-1] + str((_last_digit(answer) + 1) % 10)


@dataclass(frozen=True, slots=True)
class Mislabelled:
    """The training tasks of a source, a `share` of their worked solutions ending with a wrong answer.

    Which task is taught wrong depends on its id alone. The answer that judges stays true, and test tasks are untouched.
    """

    source: Source
    share: float
    wrong: Wrong

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise BadInput("no such share of wrong solutions", where="Mislabelled.share", got=self.share, wanted="0..1")

    @property
    def families(self) -> tuple[str, ...]:
        """The families of the source."""
        return self.source.families

    def levels(self, family: str) -> tuple[int, ...]:
        """The levels of a family."""
        return self.source.levels(family)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds."""
        return self.source.num_tasks(family, level, split)

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell; in training with the solution that is taught."""
        task = self.source.task(family, level, index, split)
        if split != "train" or task.private is None:
            return task
        return replace(task, private=self._taught(task.task_id, task.private))

    def _taught(self, task_id: str, private: Private) -> Private:
        rng = stream(0, "mislabelled", task_id)
        words = (private.solution or (said("assistant", private.answer),))[-1].text
        taught = self.wrong(words, rng) if rng.random() < self.share else words
        return replace(private, solution=(*private.solution[:-1], said("assistant", taught)))


def _last_digit(answer: str) -> int:
    if not answer[-1:].isdecimal():
        raise BadInput("an answer without a last digit", where="Mislabelled.wrong", got=answer, wanted="a number")
    return int(answer[-1])
