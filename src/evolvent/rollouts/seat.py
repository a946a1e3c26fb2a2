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
        self._last_call: str | None = None

    async def say(self, *heard: Message) -> Message:
        """Hear `heard`, then speak: the reply is sampled and recorded token by token."""
        given = self._given if not self._tokens else ()
        self._hear(heard, given)
        rank = len(self.turns)
        prompt = Prompt(
            messages=tuple(self._messages),
            tools=self.tools,
            tokens=tuple(self._tokens) if self._renderer else None,
            stream=(self.task.task_id, self.sample, self.name, rank),
            continues=self._last_call,
            max_tokens=self._room(),
        )
        made = await self._sampler(self.policy, prompt, self._how)
        message = self._read(made, given)
        self._write(made, message)
        if made.finish == Finish.LENGTH:
            self.truncation = self._limit()
            raise BudgetSpent(self.truncation)
        return message

    def recite(self, message: Message, *heard: Message) -> Message:
        """Hear `heard`, then say `message` as if the policy had: its tokens are trained on, none was sampled."""
        if self._renderer is None:
            raise BadInput("a demonstration needs a local policy", got=self.policy, cure="train a local model")
        self._hear(heard, ())
        tokens = self._renderer.reply(message, self.tools)
        self._record(message, tokens, (True,) * len(tokens), finish="recited")
        self._spoken += len(tokens)
        if self._spoken > self._budgets.episode_tokens or len(self._tokens) > self._budgets.context_tokens:
            self.truncation = "context" if len(self._tokens) > self._budgets.context_tokens else "episode"
            raise BudgetSpent(self.truncation)
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
        added: tuple[int, ...] = ()
        if self._renderer is not None:
            is_first = not self._messages
            render = self._renderer.open if is_first else self._renderer.extend
            added = render(heard, self.tools) + given
        self._messages += heard
        for i, message in enumerate(heard):
            tokens = added if i == len(heard) - 1 else ()
            self._record(message, tokens, (False,) * len(tokens))

    def _read(self, made: Completion, given: tuple[int, ...]) -> Message:
        if given and self._renderer is not None:
            return self._renderer.parse(given + made.tokens, self.tools)
        return made.message or Message("assistant", ())

    def _write(self, made: Completion, message: Message) -> None:
        self.trainable = self.trainable and bool(made.tokens) and self._renderer is not None
        self._spoken += len(made.tokens)
        self._last_call = made.call_id
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
        if message.role == "assistant":
            self._messages.append(message)

    # ------------------------------------------------------------ the budgets

    def _room(self) -> int:
        left = self._left()
        room = min(left.values())
        if room <= 0:
            self.truncation = min(left, key=lambda k: left[k])
            raise BudgetSpent(self.truncation)
        return room

    def _limit(self) -> str:
        """Which budget ended the last turn."""
        spent = len(self.turns[-1].tokens)
        if spent >= self._budgets.turn_tokens:
            return "turn"
        return "context" if len(self._tokens) >= self._budgets.context_tokens else "episode"

    def _left(self) -> dict[str, int]:
        return {
            "turn": self._budgets.turn_tokens,
            "context": self._budgets.context_tokens - len(self._tokens),
            "episode": self._budgets.episode_tokens - self._spoken,
        }
