"""Tasks that are made by a program: a time of the day in minutes, with one more span to add for each level."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent import Message, Private, Reference, Task, said
from evolvent.records import Origin, ToolCall
from evolvent.seeds import derive, stream


@dataclass(frozen=True)
class Minutes:
    """`2h35+1h10?` has the answer 225. A task depends on (seed, level, index, split) alone."""

    seed: int = 0
    judge: str = "my_reward:close"

    @property
    def families(self) -> tuple[str, ...]:
        """The kinds of task on offer."""
        return ("minutes",)

    def levels(self, family: str) -> tuple[int, ...]:
        """The difficulty levels, easiest first."""
        return (1, 2, 3, 4)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: it never runs dry."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a level; the split is a hash of the words, so that no problem is on both sides."""
        rng = stream(self.seed, family, level, split, index)
        while True:
            spans = [(rng.randint(0, 23), rng.randint(0, 59)) for _ in range(level)]
            words = "+".join(f"{hours}h{minutes:02}" for hours, minutes in spans)
            if (derive(0, family, words) % 8 == 0) == (split == "test"):
                break
        answer = str(sum(60 * hours + minutes for hours, minutes in spans))
        call = Message("assistant", (ToolCall("minutes", {"spans": words}),))
        return Task(
            task_id=f"{family}-{level}-{split}-{self.seed}-{index}",
            family=family,
            level=level,
            prompt=(said("user", f"{words}?"),),
            private=Private(answer, solution=(call, said("assistant", answer))),  # shown in the cold start only
            judge=Reference(self.judge),
            origin=Origin("my_tasks"),
            split=split,
        )
