"""Tasks in parametric database worlds as a source: structure classes are families, and splits share no world."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from evolvent.envs.databases import Database, name_world, world_of
from evolvent.envs.manufacture.parametric import SIZES, STRUCTURES, manufacture
from evolvent.errors import BadInput, nearest
from evolvent.records import Origin, Private, Reference, Task, Tool, said
from evolvent.seeds import derive, stream
from evolvent.synthesis.structures import pose

__all__ = ["WorldTasks"]

MAKER = "evolvent.envs.manufacture.parametric:manufacture"
JUDGE = Reference("evolvent.rewards.state:check")
SPLITS = ("train", "test", "arena")
NUM_TEXTS = 200  # tasks of each class
NUM_HELD_OUT = 1 << 20  # worlds of a class that are measured on; a task hardly ever shares one


@dataclass(frozen=True)
class WorldTasks:
    """Tasks of structure classes in `num_worlds` training worlds of each class and level.

    A training world appears under `num_skins` sets of names; with one skin a small model learns the names by heart. The
    worlds of "test" and "arena" are others, a new one for almost every task, so accuracy there is accuracy in worlds
    never seen. The judge looks at the answer and at the state in which the world was left.
    """

    num_worlds: int = 64
    num_skins: int = 1024
    structures: tuple[str, ...] = STRUCTURES
    num_levels: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        odd = [s for s in self.structures if s not in STRUCTURES]
        if odd:
            raise BadInput("no such structure", where="WorldTasks", got=odd[0], cure=nearest(odd[0], list(STRUCTURES)))
        if min(self.num_worlds, self.num_skins) < 1 or not 1 <= self.num_levels <= len(SIZES):
            raise BadInput("no worlds", where="WorldTasks", got=self, wanted=f"num_levels 1 to {len(SIZES)}")

    @property
    def families(self) -> tuple[str, ...]:
        """The structure classes."""
        return self.structures

    def levels(self, family: str) -> tuple[int, ...]:
        """Sizes of world, smallest first."""
        return tuple(range(1, self.num_levels + 1))

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: tasks are drawn (a small world repeats itself)."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a class: train tasks go round the training worlds."""
        if split not in SPLITS:
            raise BadInput(f"no split {split!r}", got=split, wanted=SPLITS, cure=nearest(split, list(SPLITS)))
        number = self.world(family, level, index, split)
        skin = index // self.num_worlds % self.num_skins if split == "train" else 0
        database = _manufactured(number, family, level, skin)
        exercise = pose(database, family, stream(self.seed, "exercise", family, level, split, index))
        arguments = {"seed": number, "structure": family, "level": level, "skin": skin}
        return Task(
            task_id=f"{family}-{level}-{split}-{self.seed}-{index}",
            family=family,
            level=level,
            prompt=(said("user", exercise.question),),
            private=Private(
                exercise.answer,
                {
                    **name_world(Reference(MAKER, arguments)),
                    "state": exercise.state,
                    "observations": list(exercise.observations),
                },
                exercise.solution,
            ),
            judge=JUDGE,
            origin=Origin(f"parametric world {number}"),
            split=split,
        )

    def num_worlds_of(self, split: str) -> int:
        """How many worlds a class has in a split; task i is in world i modulo this."""
        return self.num_worlds if split == "train" else NUM_HELD_OUT

    def texts(self) -> Iterator[str]:
        """What a vocabulary can be learned from: what is shown, said, called and seen in training worlds."""
        for index in range(NUM_TEXTS):
            for family in self.families:
                task = self.task(family, 1, index)
                assert task.private is not None
                yield task.question
                yield from map(_line, world_of(task).shown_tools)
                yield from (message.text for message in task.private.solution)
                yield from (json.dumps(c.arguments) for message in task.private.solution for c in message.calls)
                yield from task.private.data["observations"]

    def world(self, family: str, level: int, index: int, split: str) -> int:
        """The seed of the world of a task."""
        # an odd number for train and even ones for the others, so that no two splits can meet
        drawn = derive(self.seed, "world", split, family, level, index % self.num_worlds_of(split)) % 2**48
        return 4 * drawn + SPLITS.index(split)


def _line(tool: Tool) -> str:
    return f"{tool.description}:{tool.name}({','.join(tool.parameters['properties'])})"


@lru_cache(maxsize=1024)
def _manufactured(number: int, family: str, level: int, skin: int) -> Database:
    return manufacture(number, family, level, skin)
