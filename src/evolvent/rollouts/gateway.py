"""Sessions with agents written elsewhere: stateless requests in, one trace out, every token as it was sampled.

A request brings its whole conversation along. The longest recorded context that it goes on with is found, and only what
is new is added to the recorded ids; ids are never made again from words. A conversation that goes on with nothing is a
context of its own in the same trace, and the session notes where it parts with what was recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from jinja2 import TemplateError

from evolvent.errors import BadInput
from evolvent.policies.transcript import first_stop
from evolvent.records import Block, Completion, Finish, Message, Text, Tool
from evolvent.rollouts.beginnings import digest, form_of, form_of_tools, name_beginnings, num_common, shorten
from evolvent.rollouts.seat import START, BudgetSpent, Mark, Seat

MAX_NOTES = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """What an agent asks in one request: a conversation, the tools on offer, limits, and how many answers."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    num: int = 1


@dataclass(frozen=True, slots=True)
class Said:
    """The answers to one request: `messages` are what the agent sees of them, without the stop string they end at."""

    prompt_ids: tuple[int, ...] | None
    completions: tuple[Completion, ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One answer as it was recorded; the ids and log-probabilities stand in the turn of the same call id."""

    call_id: str
    turn_id: str
    prompt_tokens: int
    completion_tokens: int
    version: int
    finish: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a reply left the context: the conversation as the agent saw it, and the way back there."""

    forms: tuple[str, ...]
    tools: str
    mark: Mark


@dataclass(slots=True)
class _Flight:
    """A request that is being answered, and how many clients wait for it."""

    task: asyncio.Task[Said]
    num_waiting: int = 0


async def sampled(seat: Seat, heard: Sequence[Message], asked: Asked) -> None:
    """How a session speaks: its policy is sampled."""
    await seat.say(*heard, stops=asked.stops, max_tokens=asked.max_tokens)


@dataclass(slots=True)
class Lesson:
    """How a session speaks in a demonstration: the worked solution is recited, reply by reply.

    Calls of tools that the agent does not offer are passed over; behind the last reply it is said again.
    """

    solution: tuple[Message, ...]
    num_told: int = 0

    async def __call__(self, seat: Seat, heard: Sequence[Message], asked: Asked) -> None:
        """Say one reply."""
        offered = {tool.name for tool in asked.tools}
        while self.num_told < len(self.solution) - 1 and any(
            call.name not in offered for call in self.solution[self.num_told].calls
        ):
            self.num_told += 1
        message = self.solution[min(self.num_told, len(self.solution) - 1)]
        self.num_told += 1
        seat.recite(message, *heard)


@dataclass(eq=False)
class Session:
    """One agent's conversation with one seat; `notes` say what was not as the agent asked, or not as recorded.

    Requests are answered one after the other. One that fails, or whose client goes away before its answer is there,
    leaves nothing in the record. What broke on our side stays in `fault` until a later request is answered.
    """

    seat: Seat
    speak: Callable[[Seat, Sequence[Message], Asked], Awaitable[None]] = sampled
    calls: list[Call] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fault: Exception | None = None
    is_closed: bool = False
    num_contexts: int = 0
    _places: dict[str, _Place] = field(default_factory=dict)
    _head: str = ""
    _flights: dict[str, _Flight] = field(default_factory=dict)
    _under_way: set[asyncio.Task[Said]] = field(default_factory=set)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, asked: Asked, *, is_retry: bool = False) -> Said:
        """Answer a request; one that its client sends again gets what the first got, or will get."""
        if self.is_closed:
            raise BadInput("this session is over", cure="an agent speaks while its task is open, and not after")
        name = digest(str(asked))
        flight = self._flights.get(name) if is_retry else None
        if flight is None or _is_lost(flight.task):
            flight = self._flights[name] = self._begin(asked)
        flight.num_waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            flight.num_waiting -= 1
            if not flight.num_waiting:
                flight.task.cancel()
            raise

    async def close(self) -> None:
        """End the session; requests under way are dropped from the record."""
        self.is_closed = True
        tasks = tuple(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def note(self, words: str) -> None:
        """Write a note down, once."""
        if words not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(words)

    def _begin(self, asked: Asked) -> _Flight:
        task = asyncio.ensure_future(self._answer(asked))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return _Flight(task)

    async def _answer(self, asked: Asked) -> Said:
        if not asked.messages or asked.messages[-1].role == "assistant":
            raise BadInput(
                "the conversation ends with the assistant's own words",
                where="messages",
                got="a last message of the assistant",
                wanted="a last message of the user or of a tool",
                cure="a session does not write on at a beginning that the agent gives",
            )
        async with self._lock:
            start_s = time.perf_counter()
            with self._all_or_nothing():
                before = self._find(asked)
                said = [await self._speak(before, asked, start_s) for _ in range(asked.num)]
        self.fault = None
        return Said(said[0][0], tuple(made for _, made, _ in said), tuple(message for *_, message in said))

    async def _speak(
        self, before: tuple[str, int], asked: Asked, start_s: float
    ) -> tuple[tuple[int, ...] | None, Completion, Message]:
        """One reply from a place in the record, written down; the ids before it, itself, and what the agent sees."""
        seat, (name, num_known) = self.seat, before
        if self.calls and (name != self._head or not name):
            seat.go_back(self._places[name].mark if name else START)
        self.num_contexts += not name or name != self._head
        seat.tools = asked.tools
        await self._say(asked.messages[num_known:], asked)
        made = self._last_words()
        shown = _until(made.message or Message("assistant", ()), asked.stops)
        forms = (*map(form_of, asked.messages), form_of(shown))
        self._head = name_beginnings(form_of_tools(asked.tools), forms)[-1]
        self._places[self._head] = _Place(forms, form_of_tools(asked.tools), seat.mark())
        prompt_ids = seat.mark().tokens[: -len(made.tokens) or None] if seat.renderer is not None else None
        num_prompt = made.prompt_tokens if prompt_ids is None else len(prompt_ids)
        latency_s = time.perf_counter() - start_s
        turn_id = seat.turns[-1].turn_id
        told = (made.call_id, turn_id, num_prompt, len(made.tokens), made.version, str(made.finish), latency_s)
        self.calls.append(Call(*told))
        return prompt_ids, made, shown

    async def _say(self, heard: Sequence[Message], asked: Asked) -> None:
        """Speak. A reply cut at a budget is an answer that ends by its length; what has no room left is refused."""
        seat = self.seat
        seat.truncation = "" if seat.truncation == "turn" else seat.truncation
        try:
            await self.speak(seat, heard, asked)
        except BudgetSpent as spent:
            if seat.turns[-1].message.role != "assistant":
                raise _Refused(str(spent)) from spent
        except TemplateError as error:
            raise BadInput(
                "the chat template of the model refuses this conversation",
                where="messages",
                got=str(error),
                cure="an order of roles that the template knows, or a model with another template",
            ) from error
        except Exception as error:
            self.fault = error
            raise

    def _last_words(self) -> Completion:
        """The completion behind the last turn."""
        turn = self.seat.turns[-1]
        message = turn.message
        recited = Finish.CALL if message.calls else Finish.STOP
        return Completion(
            tokens=tuple(token for token, own in zip(turn.tokens, turn.mask, strict=True) if own),
            text=message.text,
            sampled_logprobs=turn.sampled_logprobs,
            model_logprobs=turn.model_logprobs,
            version=turn.version,
            finish=recited if turn.finish == "recited" else Finish(turn.finish),
            call_id=turn.call_id,
            message=message,
        )

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """What fails or is given up inside leaves nothing in the record."""
        seat = self.seat
        held = {name: list(part) if isinstance(part, list) else part for name, part in vars(seat).items()}
        own = (dict(self._places), self._head, self.num_contexts, len(self.calls), len(self.notes))
        try:
            yield
        except BaseException as error:
            vars(seat).update(held)
            self._places, self._head, self.num_contexts = own[:3]
            del self.calls[own[3] :], self.notes[own[4] :]
            if isinstance(error, _Refused):
                seat.truncation = error.limit
            raise

    # ------------------------------------------------------------ what a conversation goes on with

    def _find(self, asked: Asked) -> tuple[str, int]:
        """The recorded place that the conversation goes on with and how many messages it holds; ("", 0): none."""
        tools = form_of_tools(asked.tools)
        forms = tuple(map(form_of, asked.messages))
        chain = name_beginnings(tools, forms)
        for num in range(len(forms) - 1, 0, -1):
            # words of the assistant that we did not write cannot follow on ours: they have no end mark of their own
            if chain[num - 1] in self._places and asked.messages[num].role != "assistant":
                return chain[num - 1], num
        if self._places:
            self.note(self._parting(forms, tools))
        return "", 0

    def _parting(self, forms: tuple[str, ...], tools: str) -> str:
        """Where a conversation parts with the recorded one that it resembles most, line by line."""
        nearest = max(self._places.values(), key=lambda place: num_common(place.forms, forms))
        num = num_common(nearest.forms, forms)
        head = f"call {len(self.calls) + 1} starts a context of its own: it goes on with nothing recorded"
        if num == len(nearest.forms) and nearest.tools != tools:
            return f"{head}; the tools differ\n- {shorten(nearest.tools)}\n+ {shorten(tools)}"
        was = nearest.forms[num] if num < len(nearest.forms) else "(the end)"
        now = forms[num] if num < len(forms) else "(the end)"
        return f"{head}; message {num} differs\n- {shorten(was)}\n+ {shorten(now)}"


class _Refused(BadInput):
    """A request for which a budget leaves no room."""

    def __init__(self, limit: str) -> None:
        self.limit = limit
        super().__init__(
            f"no tokens are left: the {limit} budget is spent",
            where="messages",
            wanted=f"a shorter conversation, or a larger budgets.{limit}_tokens",
        )


def _is_lost(task: asyncio.Task[Said]) -> bool:
    """Whether a request has ended without an answer."""
    return task.cancelled() or (task.done() and task.exception() is not None)


def _until(message: Message, stops: tuple[str, ...]) -> Message:
    """The message up to the first stop string, which OpenAI's API leaves out, with what follows."""
    at = first_stop(message.text, stops)
    if at == len(message.text):
        return message
    kept: list[Block] = []
    for block in message.blocks:
        if isinstance(block, Text) and len(block.text) >= at:
            return Message(message.role, (*kept, *([Text(block.text[:at])] if at else [])))
        kept.append(block)
        at -= len(block.text) if isinstance(block, Text) else 0
    return message
