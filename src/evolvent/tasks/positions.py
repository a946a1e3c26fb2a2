"""Games of Nim to be played, as tasks: the heaps to begin from, and a number that tells games from each other."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.seeds import stream

__all__ = ["NimGames", "heaps_of"]

FAMILY = "nim"


@dataclass(frozen=True, slots=True)
class NimGames:
    """Games from `num_heaps` heaps of one to `most` matches each.

    There are few positions, so what is held out is games: number i of a split is a position and, by its number, all
    that a scripted opponent draws.
    """

    num_heaps: int = 1
    most: int = 20

    def __post_init__(self) -> None:
        if self.num_heaps < 1 or self.most < 1:
            raise BadInput("no such heaps", where="NimGames", got=self, wanted=">= 1 of >= 1")

    @property
    def families(self) -> tuple[str, ...]:
        """One game."""
        return (FAMILY,)

    def levels(self, family: str) -> tuple[int, ...]:
        """One level."""
        return (1,)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: games never run out."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Game `index` of a split, such as "17 (train 5)"."""
        rng = stream(0, FAMILY, self.num_heaps, self.most, split, index)
        heaps = " ".join(str(rng.randint(1, self.most)) for _ in range(self.num_heaps))
        return Task(
            task_id=f"{FAMILY}-{split}-{index}",
            family=FAMILY,
            level=1,
            prompt=(said("user", f"{heaps} ({split} {index})"),),
            private=Private(answer="won"),
            judge=Reference("evolvent.rewards:exact"),
            origin=Origin(how="drawn"),
            split=split,
        )


def heaps_of(task: Task) -> list[int]:
    """The heaps that a game begins with."""
    numbers = task.question.partition(" (")[0].split()
    if not numbers or not all(number.isdecimal() for number in numbers) or not any(map(int, numbers)):
        raise BadInput("no position of Nim", where=task.task_id, got=task.question, wanted='heaps such as "3 5 2"')
    return [int(number) for number in numbers]
