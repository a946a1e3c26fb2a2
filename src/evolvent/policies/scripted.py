"""Policies without weights: the floor and the ceiling that every environment is tested with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from evolvent.errors import BadInput
from evolvent.records import Completion, Finish, Message, Prompt, Sampling, Task, said
from evolvent.seeds import derive, stream


@dataclass(frozen=True)
class Fixed:
    """Says the same words whatever is asked."""

    text: str
    name: str = "fixed"

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return [_spoken(said("assistant", self.text), self.name, how, _names(p, i)) for i, p in enumerate(prompts)]


@dataclass(frozen=True)
class Oracle:
    """Knows the tasks: plays the worked solution of the question that it finds in the prompt, turn by turn."""

    solutions: Mapping[str, tuple[Message, ...]]
    name: str = "oracle"

    @classmethod
    def of(cls, tasks: Iterable[Task], name: str = "oracle") -> Oracle:
        """An oracle for tasks that carry a worked solution."""
        solutions: dict[str, tuple[Message, ...]] = {}
        for task in tasks:
            if task.private is None or not task.private.solution:
                raise BadInput(
                    f"task {task.task_id} has no worked solution",
                    wanted="task.private.solution with at least one assistant message",
                    cure="leave the task out, or let its source write the solution",
                )
            if solutions.setdefault(task.question, task.private.solution) != task.private.solution:
                raise BadInput(
                    "two tasks ask the same question and have different solutions",
                    where=f"task {task.task_id}",
                    got=task.question[:200],
                    cure="make one oracle for each",
                )
        return cls(solutions, name)

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return [_spoken(self._next(p), self.name, how, _names(p, i)) for i, p in enumerate(prompts)]

    def _next(self, prompt: Prompt) -> Message:
        """The assistant message that follows those already given after the question."""
        num_given = 0
        for message in reversed(prompt.messages):
            if message.role == "assistant":
                num_given += 1
            elif message.role == "user" and message.text in self.solutions:
                return self._turn(message.text, num_given)
        raise BadInput(
            "the oracle does not know this question",
            got=" | ".join(m.text for m in prompt.messages if m.role == "user")[:200],
            wanted=f"one of the {len(self.solutions)} questions that it was built from",
            cure="build it with Oracle.of(tasks) from the tasks that are played",
        )

    def _turn(self, question: str, place: int) -> Message:
        solution = self.solutions[question]
        if place >= len(solution):
            raise BadInput(
                "the worked solution has ended and the world still asks",
                where=question[:200],
                got=f"turn {place + 1}",
                wanted=f"an end after {len(solution)} turns",
                cure="complete the solution of the task, or let its world end there",
            )
        return solution[place]


@dataclass(frozen=True)
class RandomWords:
    """Says 1 to `max_words` words drawn from `alphabet`, keyed by (seed, stream) of the prompt."""

    alphabet: Sequence[str]
    max_words: int
    joint: str = " "
    name: str = "random"

    def __post_init__(self) -> None:
        if not self.alphabet or self.max_words < 1:
            raise BadInput(
                "random words need something to draw from",
                got=f"{len(self.alphabet)} words, max_words={self.max_words}",
                wanted="at least one of each",
            )

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return [self._draw(how, _names(p, i)) for i, p in enumerate(prompts)]

    def _draw(self, how: Sampling, names: tuple[str | int, ...]) -> Completion:
        rng = stream(how.seed, "words", *names)
        words = rng.choices(self.alphabet, k=rng.randint(1, self.max_words))
        return _spoken(said("assistant", self.joint.join(words)), self.name, how, names)


@dataclass(frozen=True)
class Script:
    """Says what a function of the prompt says, with a random stream of each prompt's own."""

    speak: Callable[[Prompt, Random], Message]
    name: str = "script"

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return [self._speak(p, how, _names(p, i)) for i, p in enumerate(prompts)]

    def _speak(self, prompt: Prompt, how: Sampling, names: tuple[str | int, ...]) -> Completion:
        return _spoken(self.speak(prompt, stream(how.seed, "script", *names)), self.name, how, names)


def _names(prompt: Prompt, place: int) -> tuple[str | int, ...]:
    """The stream of a prompt; its place among the prompts where nobody named one."""
    return prompt.stream or (place,)


def _spoken(message: Message, name: str, how: Sampling, names: tuple[str | int, ...]) -> Completion:
    """A message as a completion without token ids."""
    return Completion(
        tokens=(),
        text=message.text,
        sampled_logprobs=(),
        model_logprobs=(),
        version=0,
        finish=Finish.CALL if message.calls else Finish.STOP,
        call_id=f"{name}-{derive(how.seed, 'call', *names):016x}",
        message=message,
        route=name,
    )
