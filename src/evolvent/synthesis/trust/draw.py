"""Draws the tasks that must prove themselves, and looks at them as a set: duplicates, contradictions, splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.errors import EvolventError
from evolvent.records import Image, Task
from evolvent.synthesis.trust.bench import Bench, LateError, answering, at_most
from evolvent.synthesis.trust.forms import plain
from evolvent.synthesis.trust.plan import Proof
from evolvent.synthesis.trust.verdict import Ledger
from evolvent.tasks.source import Source

SPLITS = ("train", "test")
NUM_MORE = 4  # times as many tasks are drawn as are played, to look at their words alone


@dataclass(frozen=True, slots=True)
class DrawnCell:
    """A cell's tasks by split: `played` prove themselves one by one, `all` are looked at as a set."""

    family: str
    level: int
    played: tuple[Task, ...]
    all: tuple[Task, ...]
    places: Mapping[str, tuple[str, int]]
    fault: str = ""


def draw_cell(source: Source, family: str, level: int, proof: Proof) -> DrawnCell:
    """Tasks of one (family, level); where the source breaks or hangs, what it said."""
    played: list[Task] = []
    every: list[Task] = []
    places: dict[str, tuple[str, int]] = {}
    num_tasks, max_s = proof.num_tasks, proof.max_draw_s
    try:
        for split in SPLITS:
            held = source.num_tasks(family, level, split)
            num_all = NUM_MORE * num_tasks if held is None else min(held, proof.max_rows)
            for index in range(num_all):
                with at_most(max_s):
                    task = source.task(family, level, index, split)
                every.append(task)
                if index < num_tasks:
                    played.append(task)
                    places[task.task_id] = (split, index)
    except LateError:
        return DrawnCell(family, level, tuple(played), tuple(every), places, f"a task took longer than {max_s:g} s")
    except EvolventError as error:
        return DrawnCell(family, level, tuple(played), tuple(every), places, f"{error.what}: {error.got}")
    return DrawnCell(family, level, tuple(played), tuple(every), places)


class WholeSet:
    """Every question that was seen, to tell whether two tasks are one."""

    def __init__(self, bench: Bench, ledger: Ledger, source: Source | None) -> None:
        self.bench, self.ledger, self.source = bench, ledger, source
        self.seen: dict[tuple[str, ...], Task] = {}
        self.skeletons: dict[str, set[str]] = {split: set() for split in SPLITS}
        self.test: list[str] = []
        self.parameters: dict[str, dict[str, Task]] = {split: {} for split in SPLITS}
        self.num, self.num_again = 0, 0

    def look(self, tasks: Sequence[Task]) -> None:
        """Compare tasks with all before them."""
        for task in tasks:
            self.num += 1
            self.ledger.try_one("whole")
            self.ledger.try_one("split")
            self._compare(task)
            skeleton = re.sub(r"[0-9]+", "#", plain(asked(task)[0]))
            self.skeletons.setdefault(task.split, set()).add(skeleton)
            if task.split == "test":
                self.test.append(skeleton)
            self._compare_parameters(task)

    def finish(self) -> None:
        """The shares, once all tasks were seen."""
        if not self.num:
            return
        self.ledger.set("whole", "share_again", self.num_again / self.num)
        if self.test:
            known = self.skeletons["train"]
            self.ledger.set("split", "share_of_test_that_differs_in_numbers_alone", _share(self.test, known))
        compared = sum(map(len, self.parameters.values()))
        words = f"compared by the words of {self.num} questions"
        self.ledger.notes["split"] = words + (f" and {compared} sets of parameters" if compared else "")

    def _compare(self, task: Task) -> None:
        words = asked(task)
        other = self.seen.setdefault(words, task)
        if other is task:
            return
        self.num_again += 1
        if other.split != task.split:
            self.ledger.fail("split", task, f"the question of {other.task_id} stands in both splits", words[0])
        if task.private and other.private and task.private.answer != other.private.answer:
            self._compare_answers(task, other)

    def _compare_answers(self, task: Task, other: Task) -> None:
        """Two answers to one question are no contradiction where the judge takes both."""
        assert other.private is not None
        (played,) = self.bench.play([answering(task, other.private.answer)])
        if not played.is_right:
            what = f"the same question as {other.task_id}, another answer"
            self.ledger.fail("whole", task, what, f"{asked(task)[0]} -> {other.private.answer}")

    def _compare_parameters(self, task: Task) -> None:
        """By the problem's own parameters, where the source tells them: `parameters(task)`, or private.data."""
        tell: Any = getattr(self.source, "parameters", None)
        found = tell(task) if callable(tell) else (task.private.data if task.private else {}).get("parameters")
        if found is None:
            return
        key = f"{task.family} {found!r}"
        for split, known in self.parameters.items():
            if split != task.split and key in known:
                what = f"the parameters of {known[key].task_id} stand in both splits"
                self.ledger.fail("split", task, what, repr(found))
        self.parameters.setdefault(task.split, {})[key] = task


def asked(task: Task) -> tuple[str, ...]:
    """What is asked: the words of the prompt, for spaces may draw a picture, and its pictures."""
    words = "\n".join(f"{message.role}: {message.text.strip()}" for message in task.prompt)
    place = task.problem.removeprefix(task.question)  # one question in two worlds is two problems
    return (words + place, *(b.digest for message in task.prompt for b in message.blocks if isinstance(b, Image)))


def _share(test: Sequence[str], known: set[str]) -> float:
    return sum(skeleton in known for skeleton in test) / len(test)
