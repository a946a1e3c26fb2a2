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
    Text,
    Tool,
    Trace,
    Turn,
    said,
)
from evolvent.seeds import derive


@dataclass(frozen=True, slots=True)
class Budgets:
    """Three limits in tokens: what one turn may write, what the context may hold, what an episode may write."""

    turn_tokens: int
    context_tokens: int
    episode_tokens: int


class BudgetSpent(Exception):  # an ending, not an error
    """Ends an episode from inside a workflow; the reason is one of turn, context, episode."""


Sampler = Callable[[str, Prompt, Sampling], Awaitable[Completion]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the context of a seat that it can go back to; as it stands, the empty context."""

    messages: tuple[Message, ...] = ()
    tokens: tuple[int, ...] = ()
    turn_id: str | None = None
    call_id: str | None = None
    counted: int = 0
    is_open: bool = False


START = Mark()


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
        self._last_turn: str | None = None
        self._is_new = True  # the next turn starts a context
        self._is_cut_at = ""
        self._is_open = False  # the last reply has no end mark, so it can go on

    async def say(
        self, *heard: Message, given: str = "", stops: tuple[str, ...] = (), max_tokens: int | None = None
    ) -> Message:
        """Hear `heard`, then speak: the reply is sampled and recorded token by token.

        Where it is `given` how it begins, the policy goes on from there; those words are not its own. The reply ends at
        the first of `stops`, which it keeps, and can `go_on` from there; its own `max_tokens` are no cut.
        """
        begins = self._given if not self.turns else ()
        begins += self._plain(given) if given else ()
        self._hear(heard, begins)
        made = await self._sample(stops, max_tokens)
        message = self._read(made, begins)
        self._messages.append(message)
        self._write(made, message)
        return message

    async def go_on(self, given: str = "", stops: tuple[str, ...] = (), max_tokens: int | None = None) -> Message:
        """Go on with a reply that stopped, after the words `given`, which are the environment's; returns the new part.

        The parts are turns of their own in the record, and one message in the context.
        """
        if not self._is_open:
            raise BadInput(
                "there is no reply to go on with",
                where=f"task {self.task.task_id}, seat {self.name!r}",
                got="a reply that has ended, or none",
                cure="say(..., stops=(...)) first",
            )
        words = self._plain(given)
        if words or self._is_new:
            self._record(Message("tool", (Text(given),)), words, (False,) * len(words))
        made = await self._sample(stops, max_tokens)
        message = self._read(made, ())
        self._messages[-1] = Message("assistant", (*self._messages[-1].blocks, Text(given), *message.blocks))
        self._write(made, message)
        return message

    @property
    def renderer(self) -> Renderer | None:
        """What makes token ids of messages; None where an endpoint reads the words."""
        return self._renderer

    @property
    def how(self) -> Sampling:
        """How its policy is sampled."""
        return self._how

    @property
    def seed(self) -> int:
        """What chance in a workflow hangs on: a number of its own for each run, step, task, attempt and seat."""
        return derive(self._how.seed, "workflow", self.task.task_id, self.sample, self.name)

    def mark(self) -> Mark:
        """Where the context stands."""
        return Mark(
            tuple(self._messages),
            tuple(self._tokens),
            self._last_turn,
            self._last_call,
            self._counted,
            self._is_open,
        )

    def go_back(self, mark: Mark = START) -> None:
        """Make the context what it was at a mark: what comes next is a context of its own in the same trace.

        Nothing is taken from the record. The recorded ids of the old context are heard again, not trained on twice.
        """
        self._messages, self._tokens = list(mark.messages), list(mark.tokens)
        self._last_turn, self._last_call = mark.turn_id, mark.call_id
        self._counted, self._is_open = mark.counted, mark.is_open
        self._is_new = True

    def recite(self, message: Message, *heard: Message) -> Message:
        """Hear `heard`, then say `message` as if the policy had: its tokens are trained on, none was sampled."""
        if self._renderer is None:
            raise BadInput("a demonstration needs a local policy", got=self.policy, cure="train a local model")
        self._hear(heard, ())
        tokens = self._renderer.reply(message, self.tools)
        self._messages.append(message)
        self._is_open = False
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
            ended = self._renderer.end if self._is_open else ()
            added = ended + render(heard, self.tools) + given
        self._messages += heard
        for i, message in enumerate(heard):
            tokens = added if i == len(heard) - 1 else ()
            self._record(message, tokens, (False,) * len(tokens))

    async def _sample(self, stops: tuple[str, ...], max_tokens: int | None) -> Completion:
        left = self._left()
        limit = min(left, key=lambda k: left[k])
        if left[limit] <= 0:
            self._cut(limit)
        room = left[limit] if max_tokens is None else min(max_tokens, left[limit])
        prompt = Prompt(
            messages=tuple(self._messages),
            tools=self.tools,
            tokens=tuple(self._tokens) if self._renderer else None,
            stream=(self.task.task_id, self.sample, self.name, len(self.turns)),
            continues=self._last_call,
            max_tokens=room,
            stops=stops,
        )
        made = await self._sampler(self.policy, prompt, self._how)
        self._is_cut_at = limit if made.finish == Finish.LENGTH and room == left[limit] else ""
        return made

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
        if self._renderer is not None:
            self._is_open = not (made.tokens and made.tokens[-1] in self._renderer.stop_ids)
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
        if self._is_cut_at:
            self._cut(self._is_cut_at)

    def _record(self, message: Message, tokens: tuple[int, ...], mask: tuple[bool, ...], **more: object) -> None:
        number = len(self.turns)
        before = tuple(self._tokens) if self._is_new else ()  # what a context that goes back to a mark begins with
        turn = Turn(
            turn_id=f"{self.task.task_id}/{self.sample}/{self.name}/{number}",
            parent=self._last_turn,
            seat=self.name,
            round=number,
            message=message,
            tokens=before + tokens,
            mask=(False,) * len(before) + mask,
            starts_context=self._is_new,
        )
        self.turns.append(replace(turn, **more) if more else turn)  # type: ignore[arg-type]
        self._tokens += tokens
        self._last_turn, self._is_new = turn.turn_id, False

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
