"""A seat in a workflow: it hears messages and says one, while every token that passes is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from evolvent.errors import BadInput
from evolvent.models.render import Renderer
from evolvent.records import (
    Completion,
    Fault,
    Finish,
    Message,
    Outcome,
    Prompt,
    Sampling,
    Task,
    Tool,
    Trace,
    Turn,
    said,
)


@dataclass(frozen=True, slots=True)
class Budgets:
    """Three limits in tokens: what one turn may write, what the context may hold, what an episode may write."""

    turn_tokens: int
    context_tokens: int
    episode_tokens: int


class BudgetSpent(Exception):  # an ending, not an error
    """Ends an episode from inside a workflow; the reason is one of turn, context, episode."""


Sampler = Callable[[str, Prompt, Sampling], Awaitable[Completion]]


class Speaker(Protocol):
    """What a workflow may ask of a seat."""

    async def say(self, *heard: Message) -> Message:
        """Hear messages, then speak."""
        ...


class Seat:
    """One agent in one episode: `say` samples, `recite` takes down words that somebody else chose."""

    def __init__(
        self,
        task: Task,
        sample: int,
        *,
        name: str,
        policy: str,
        renderer: Renderer | None,
        sampler: Sampler,
        how: Sampling,
        budgets: Budgets,
        tools: Sequence[Tool] = (),
        given: tuple[int, ...] = (),
    ) -> None:
        self.task, self.sample, self.name, self.policy = task, sample, name, policy
        self.tools = tuple(tools)
        self.turns: list[Turn] = []
        self.truncation = ""
        self.trainable = True
        self._renderer, self._sampler, self._how, self._budgets = renderer, sampler, how, budgets
        self._given = given
        self._messages: list[Message] = []
        self._tokens: list[int] = []
        self._spoken = 0
        self._counted = 0
        self._last_call: str | None = None

    async def say(self, *heard: Message, given: str = "") -> Message:
        """Hear `heard`, then speak: the reply is sampled and recorded token by token.

        Where it is `given` how it begins, the policy goes on from there; those words are not its own.
        """
        begins = self._given if not self.turns else ()
        begins += self._plain(given) if given else ()
        self._hear(heard, begins)
        left = self._left()
        limit = min(left, key=lambda k: left[k])
        if left[limit] <= 0:
            self._cut(limit)
        rank = len(self.turns)
        prompt = Prompt(
            messages=tuple(self._messages),
            tools=self.tools,
            tokens=tuple(self._tokens) if self._renderer else None,
            stream=(self.task.task_id, self.sample, self.name, rank),
            continues=self._last_call,
            max_tokens=left[limit],
        )
        made = await self._sampler(self.policy, prompt, self._how)
        message = self._read(made, begins)
        self._write(made, message)
        if made.finish == Finish.LENGTH:
            self._cut(limit)
        return message

    def recite(self, message: Message, *heard: Message) -> Message:
        """Hear `heard`, then say `message` as if the policy had: its tokens are trained on, none was sampled."""
        if self._renderer is None:
            raise BadInput("a demonstration needs a local policy", got=self.policy, cure="train a local model")
        self._hear(heard, ())
        tokens = self._renderer.reply(message, self.tools)
        self._messages.append(message)
        self._record(message, tokens, (True,) * len(tokens), finish="recited")
        self._spoken += len(tokens)
        left = self._left()
        limit = min(("context", "episode"), key=lambda k: left[k])
        if left[limit] < 0:
            self._cut(limit)
        return message

    def trace(self, outcome: Outcome, fault: Fault | None) -> Trace:
        """What was recorded, as a record."""
        return Trace(
            task_id=self.task.task_id,
            sample=self.sample,
            seat=self.name,
            policy=self.policy,
            turns=tuple(self.turns),
            outcome=outcome,
            truncation=self.truncation,
            fault=fault,
            trainable=self.trainable,
        )

    # ------------------------------------------------------------ the record

    def _hear(self, heard: Sequence[Message], given: tuple[int, ...]) -> None:
        if not heard:
            raise BadInput(
                "a seat must hear something before it speaks",
                where=f"task {self.task.task_id}, seat {self.name!r}",
                got="say() without a message",
                cure='say(said("user", "go on")), so that the context shows whose turn it is',
            )
        heard = _as_heard(heard)
        added: tuple[int, ...] = ()
        if self._renderer is not None:
            is_first = not self._messages
            render = self._renderer.open if is_first else self._renderer.extend
            added = render(heard, self.tools) + given
        self._messages += heard
        for i, message in enumerate(heard):
            tokens = added if i == len(heard) - 1 else ()
            self._record(message, tokens, (False,) * len(tokens))

    def _plain(self, words: str) -> tuple[int, ...]:
        if self._renderer is None:
            raise BadInput(
                "only a local policy can be given the beginning of its reply", got=self.policy, cure="model=a folder"
            )
        return self._renderer.plain(words)

    def _read(self, made: Completion, given: tuple[int, ...]) -> Message:
        if given and self._renderer is not None:
            return self._renderer.parse(given + made.tokens, self.tools)
        return made.message or Message("assistant", ())

    def _write(self, made: Completion, message: Message) -> None:
        self.trainable = self.trainable and bool(made.tokens) and self._renderer is not None
        self._spoken += len(made.tokens)
        if self._renderer is None:  # a server counts the context; ours would have to guess
            self._counted = made.prompt_tokens + len(made.tokens)
        self._last_call = made.call_id
        self._messages.append(message)
        self._record(
            message,
            made.tokens,
            (True,) * len(made.tokens),
            sampled_logprobs=made.sampled_logprobs,
            model_logprobs=made.model_logprobs,
            call_id=made.call_id,
            version=made.version,
            finish=str(made.finish),
            sampling=self._how,
        )

    def _record(self, message: Message, tokens: tuple[int, ...], mask: tuple[bool, ...], **more: object) -> None:
        number = len(self.turns)
        parent = self.turns[-1].turn_id if self.turns else None
        turn_id = f"{self.task.task_id}/{self.sample}/{self.name}/{number}"
        turn = Turn(
            turn_id=turn_id,
            parent=parent,
            seat=self.name,
            round=number,
            message=message,
            tokens=tokens,
            mask=mask,
            starts_context=number == 0,
        )
        self.turns.append(replace(turn, **more) if more else turn)  # type: ignore[arg-type]
        self._tokens += tokens

    # ------------------------------------------------------------ the budgets

    def _cut(self, limit: str) -> None:
        """End the episode at one of the three limits."""
        if limit == "context" and tuple(self._messages) == self.task.prompt:
            raise BadInput(
                "the prompt of a task is longer than the context",
                where=f"task {self.task.task_id}, seat {self.name!r}",
                got=f"{len(self._tokens)} tokens before the first word of the policy",
                wanted=f"fewer than budgets.context_tokens = {self._budgets.context_tokens}",
                cure="raise budgets.context_tokens as far as the model's context goes, or leave such tasks out",
            )
        self.truncation = limit
        raise BudgetSpent(limit)

    def _left(self) -> dict[str, int]:
        return {
            "turn": self._budgets.turn_tokens,
            "context": self._budgets.context_tokens - (len(self._tokens) if self._renderer else self._counted),
            "episode": self._budgets.episode_tokens - self._spoken,
        }


def _as_heard(heard: Sequence[Message]) -> tuple[Message, ...]:
    """Replies of other seats at the end are words of a user to this one; examples inside a prompt stay as they are."""
    num_others = 0
    while num_others < len(heard) and heard[-1 - num_others].role == "assistant":
        num_others += 1
    kept = len(heard) - num_others
    return (*heard[:kept], *(said("user", m.text) for m in heard[kept:]))
