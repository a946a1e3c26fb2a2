"""Short stories that come from a plan: who comes along, where, what goes wrong, how it is told, and how it ends.

The words of a story are none of its plan, every choice can be told in two ways, and what a story keeps of a plan can be
read off it. So a plan that was guessed from a story can be compared with the true one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from evolvent.records import Origin, Private, Reference, Score, Task, said
from evolvent.seeds import derive, stream

NAMES = ("Ann", "Bo", "Cai", "Dov", "Eve", "Finn", "Gus", "Hal", "Ida", "Jun", "Kim", "Lev", "Mia", "Ned", "Ole", "Pia")

SLOTS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "place": {
        "sea": ("walked over wet sand", "watched the waves"),
        "forest": ("went among trees", "lay under leaves"),
        "city": ("crossed the market", "saw grey towers"),
        "hill": ("climbed a path", "stood in wind"),
        "cave": ("felt damp rock", "lit a lamp"),
    },
    "friend": {
        "bird": ("feathers came down", "wings flew near"),
        "dog": ("a tail wagged", "somebody barked"),
        "child": ("a girl waved", "a boy asked"),
        "ghost": ("a shape drifted", "a whisper said hello"),
        "robot": ("wheels rolled up", "metal beeped"),
    },
    "trouble": {
        "storm": ("thunder broke", "clouds burst"),
        "thief": ("a purse was gone", "fingers stole bread"),
        "fire": ("smoke rose", "sparks caught grass"),
        "hunger": ("nothing was left to eat", "bellies were empty"),
        "night": ("light went out", "it grew dark"),
    },
    "twist": {
        "dream": ("they woke up", "it was sleep"),
        "king": ("one wore a crown", "trumpets called"),
        "gold": ("coins shone", "they were rich"),
        "wedding": ("rings were given", "bells rang"),
        "letter": ("an envelope came", "they read ink"),
    },
    "order": {"forward": ("", ""), "backward": ("", "")},
}
"""Each choice of each slot, with two ways to tell it; `order` says whether the end is told first."""

FILLERS = (
    "nobody spoke for a while",
    "an hour went by",
    "the day was long",
    "they thought of home",
    "time passed slowly",
)


@dataclass(frozen=True, slots=True)
class Story:
    """A question, the plan that only the writer knew, and the text."""

    index: int
    question: str
    plan: tuple[str, ...]
    text: str


Planner = Callable[[Story, Random], tuple[str, ...]]
"""The plan that is shown with a story: the true one, a rough one, one that was found, or none."""


def true_plan(story: Story, rng: Random) -> tuple[str, ...]:
    """What the story was written from."""
    return story.plan


def no_plan(story: Story, rng: Random) -> tuple[str, ...]:
    """The story alone."""
    return ()


def half_planned(story: Story, rng: Random) -> tuple[str, ...]:
    """The true plan of every second story: what teaches a scorer text with and without plans."""
    return story.plan if rng.random() < 0.5 else ()


def rough_plan(story: Story, rng: Random) -> tuple[str, ...]:
    """A first guess, right in a third of its segments."""
    guess = random_plan(rng)
    return tuple(true if rng.random() < 1 / 3 else other for true, other in zip(story.plan, guess, strict=True))


def random_plan(rng: Random) -> tuple[str, ...]:
    """Any plan at all."""
    return tuple(segment(slot, rng.choice(list(SLOTS[slot]))) for slot in SLOTS)


def segment(slot: str, choice: str) -> str:
    """How a plan says a choice."""
    return f"{slot} {choice}"


def ask(question: str, plan: tuple[str, ...]) -> str:
    """The prompt for a story, with a plan to follow where there is one."""
    return f"{question} Plan: {', '.join(plan)}." if plan else question


def read(text: str) -> tuple[str, ...]:
    """The plan that a text keeps: of each slot the one choice that it tells, nothing where it tells none or several."""
    found = {slot: [c for c, ways in SLOTS[slot].items() if any(w and w in text for w in ways)] for slot in SLOTS}
    told = {slot: _place(text, slot) for slot in ("place", "twist")}
    if -1 not in told.values():
        found["order"] = ["forward" if told["place"] < told["twist"] else "backward"]
    return tuple(segment(slot, choices[0]) if len(choices) == 1 else "" for slot, choices in found.items())


def kept(plan: tuple[str, ...], text: str) -> float:
    """The share of a plan's segments that a text keeps."""
    return sum(wanted == got for wanted, got in zip(plan, read(text), strict=True)) / len(plan)


def check(task: Task, answer: str) -> Score:
    """The share of the plan's constraints that the story satisfies."""
    assert task.private is not None
    plan = tuple(task.private.data["plan"])
    share = kept(plan, answer)
    return Score(share, {"kept": share}, f"keeps {share * len(plan):.0f} of {len(plan)} segments of the plan")


@dataclass(frozen=True, slots=True)
class Stories:
    """Stories with the plans that `planner` shows; held-out ones show the true plan, and have names of their own.

    With `given`, the training stories are these, each with its plan; else `num_stories` from number `first` on, or all.
    """

    planner: Planner = true_plan
    seed: int = 0
    first: int = 0
    num_stories: int | None = None
    given: tuple[tuple[int, tuple[str, ...]], ...] = ()

    @property
    def families(self) -> tuple[str, ...]:
        """One family."""
        return ("stories",)

    def levels(self, family: str) -> tuple[int, ...]:
        """One level."""
        return (1,)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """As many as train, and no end of held-out ones."""
        return (len(self.given) or self.num_stories) if split == "train" else None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Write a story to a plan; the solution is the story that came from it."""
        given = self.given[index] if self.given and split == "train" else None
        story = write(self.seed, split, given[0] if given else index + (self.first if split == "train" else 0))
        planner = true_plan if split == "test" else self.planner
        plan = given[1] if given else planner(story, stream(self.seed, "planner", story.index))
        return Task(
            task_id=f"stories-{split}-{self.seed}-{story.index}",
            family=family,
            level=level,
            prompt=(said("user", ask(story.question, plan)),),
            private=Private(
                answer=story.text, data={"plan": list(story.plan)}, solution=(said("assistant", story.text),)
            ),
            judge=Reference("evolvent.tasks.stories:check"),
            origin=Origin(how="stories"),
            split=split,
        )


@functools.lru_cache(maxsize=1 << 14)
def write(seed: int, split: str, index: int) -> Story:
    """Story `index` of a split: it depends on its arguments alone."""
    rng = stream(seed, "story", split, index)
    while True:
        hero, teller = rng.sample(NAMES, 2)
        question = f"{teller} tells of {hero}."
        if ("test" if derive(0, "stories", question) % 8 == 0 else "train") == split:
            break
    plan = random_plan(rng)
    choice = dict(part.split() for part in plan)
    place, friend, trouble, twist = (
        rng.choice(SLOTS[slot][choice[slot]]) for slot in ("place", "friend", "trouble", "twist")
    )
    told = [f"{hero} {place}", friend, rng.choice(FILLERS), f"then {trouble}", f"and so {twist}"]
    if choice["order"] == "backward":
        told = [f"and so {twist}", f"before that {told[0]}", friend, rng.choice(FILLERS), f"then {trouble}"]
    return Story(index, question, plan, ". ".join(told) + ".")


def _place(text: str, slot: str) -> int:
    """Where a slot is told, or -1."""
    return max(text.find(way) for ways in SLOTS[slot].values() for way in ways)
