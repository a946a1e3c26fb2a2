"""Messages to token ids and back, by the tokenizer's own chat template, so that no text can forge a mark."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput
from evolvent.models.tokenizer import CALL, END_CALL
from evolvent.records import Block, Message, Text, Tool, ToolCall

# Slots stand where content will be; private-use characters survive any template and no tokenizer merges them.
_SLOT = re.compile('"\ue000(\\d+)\ue001"|\ue000(\\d+)\ue001')


@dataclass(frozen=True, slots=True)
class _Hole:
    """A place for content: `quoted` holes take a JSON value, others take the text as it is."""

    index: int
    quoted: bool


_Skeleton = tuple["int | str | _Hole", ...]


class Renderer:
    """Turns conversations into token ids; content is encoded apart from marks, and joins the template's own text.

    `open` gives a whole prompt, `extend` what is added after a completion, `reply` what a policy would have to
    write to say a message, `parse` reads what a policy wrote.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise BadInput(
                "the model has no chat template",
                where=getattr(tokenizer, "name_or_path", "") or "its tokenizer",
                wanted="tokenizer.chat_template, so that messages have one token form",
                cure="save one with the tokenizer (tokenizer.chat_template = ...; tokenizer.save_pretrained(folder))",
            )
        self.tokenizer = tokenizer
        self.added: dict[str, int] = {str(t): i for i, t in tokenizer.added_tokens_decoder.items()}
        self._marks = re.compile("|".join(sorted(map(re.escape, self.added), key=len, reverse=True)) or r"(?!)")
        self.native_calls = CALL in self.added
        ends = {tokenizer.eos_token, END_CALL if self.native_calls else None} - {None}
        ends |= {t for t in ("<|im_end|>", "<|eot_id|>", "<|eom_id|>") if t in self.added}
        self.end_marks = tuple(sorted(str(e) for e in ends))
        self.stop_ids = frozenset(self.added[e] for e in self.end_marks if e in self.added)
        self.call_id: int | None = self.added.get(END_CALL)
        self.call_start: tuple[int, ...] = (
            (self.added[CALL],) if self.native_calls else tuple(self._encode("<tool_call>\n", parse_marks=True))
        )
        self._bytes_only = tokenizer.vocab_size == 256 and self.native_calls
        self._skeletons: dict[Any, _Skeleton] = {}

    # ------------------------------------------------------------ words to tokens

    def open(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """The prompt for a first turn: all messages, and the mark that it is the assistant's turn to speak."""
        calls = tuple(json.dumps([(c.name, c.arguments) for c in m.calls]) for m in messages)
        key = ("open", tuple(m.role for m in messages), calls, _tool_key(tools))
        if key not in self._skeletons:
            holes = [_as_hole(i, m) for i, m in enumerate(messages)]
            self._skeletons[key] = self._split(self._template(holes, tools, True))
        return self._fill(self._skeletons[key], [m.text for m in messages])

    def extend(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """What stands between a finished completion and the next one: new messages and the assistant's mark."""
        key = ("extend", tuple(m.role for m in messages), _tool_key(tools))
        if key not in self._skeletons:
            self._skeletons[key] = self._split(self._bridge([m.role for m in messages], tools))
        return self._fill(self._skeletons[key], [m.text for m in messages])

    def reply(self, message: Message, tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """The tokens a policy would have to write to say `message`, its end mark included."""
        calls = message.calls
        shape = tuple((c.name, tuple(c.arguments or ())) for c in calls)
        key = ("reply", shape, _tool_key(tools))
        values: list[Any] = [message.text, *(v for c in calls for v in (c.arguments or {}).values())]
        if key not in self._skeletons:
            self._skeletons[key] = self._split(self._spoken(shape, tools))
        return self._fill(self._skeletons[key], values)

    # ------------------------------------------------------------ tokens to words

    def text(self, tokens: Sequence[int]) -> str:
        """Token ids as text, marks shown; bytes that are no character become the replacement sign."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def parse(self, tokens: Sequence[int], tools: Sequence[Tool] = ()) -> Message:
        """What a policy wrote, as a message; a call that cannot be read keeps its text in `raw`."""
        words = list(tokens)
        while words and words[-1] in self.stop_ids and words[-1] != self.call_id:
            words.pop()
        text = self.text(words)
        pattern = (
            r"<\|call\|>(.*?)(?:<\|end_call\|>|\Z)" if self.native_calls else r"<tool_call>(.*?)(?:</tool_call>|\Z)"
        )
        blocks: list[Block] = []
        at = 0
        for found in re.finditer(pattern, text, re.DOTALL):
            if found.start() > at:
                blocks.append(Text(text[at : found.start()]))
            blocks.append(read_call(found.group(1), tools))
            at = found.end()
        if text[at:]:
            blocks.append(Text(text[at:]))
        return Message("assistant", tuple(blocks))

    # ------------------------------------------------------------ the template, once per shape

    def _template(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], generate: bool) -> str:
        offered = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
            }
            for t in tools
        ]
        return str(
            self.tokenizer.apply_chat_template(
                list(messages), tools=offered or None, tokenize=False, add_generation_prompt=generate
            )
        )

    def _bridge(self, roles: Sequence[str], tools: Sequence[Tool]) -> str:
        before: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
        first = {"role": "assistant", "content": "a"}
        if roles and roles[0] == "tool" and tools:
            names = list(tools[0].parameters.get("properties", {}))
            call = {"type": "function", "function": {"name": tools[0].name, "arguments": dict.fromkeys(names, "x")}}
            first = {"role": "assistant", "content": "", "tool_calls": [call]}  # type: ignore[dict-item]
        before.append(first)
        after = [{"role": role, "content": _slot(i)} for i, role in enumerate(roles)]
        early, late = self._template(before, tools, False), self._template([*before, *after], tools, True)
        if not late.startswith(early):
            raise BadInput(
                "the chat template rewrites earlier turns when a message is added",
                where=getattr(self.tokenizer, "name_or_path", ""),
                got="a conversation whose beginning changes",
                wanted="a template whose text only grows (multi-turn traces extend the recorded ids)",
                cure="use a training variant of the template that keeps earlier turns as they were",
            )
        return early[self._last_end(early) :] + late[len(early) :]

    def _spoken(self, shape: tuple[tuple[str, tuple[str, ...]], ...], tools: Sequence[Tool]) -> str:
        before = [{"role": "user", "content": "q"}]
        message: dict[str, Any] = {"role": "assistant", "content": _slot(0)}
        number = 1
        calls = []
        for name, arguments in shape:
            values = {a: _slot(number + i) for i, a in enumerate(arguments)}
            number += len(values)
            calls.append({"type": "function", "function": {"name": name, "arguments": values}})
        if calls:
            message["tool_calls"] = calls
        start = self._template(before, tools, True)
        whole = self._template([*before, message], tools, False)
        if not whole.startswith(start):
            raise BadInput(
                "the chat template writes a reply that does not begin with its own generation mark",
                where=getattr(self.tokenizer, "name_or_path", ""),
                cure="use a template whose generation prompt is a prefix of the finished turn",
            )
        return whole[len(start) : self._last_end(whole)]

    def _last_end(self, text: str) -> int:
        ends = [text.rfind(mark) + len(mark) for mark in self.end_marks if mark in text]
        return max(ends, default=len(text))

    def _split(self, text: str) -> _Skeleton:
        """Template text -> marks as ids, other text, and holes."""
        parts: list[int | str | _Hole] = []
        at = 0
        for found in _SLOT.finditer(text):
            parts += self._split_marks(text[at : found.start()])
            parts.append(_Hole(int(found.group(1) or found.group(2)), quoted=found.group(1) is not None))
            at = found.end()
        return tuple(parts + self._split_marks(text[at:]))

    def _split_marks(self, text: str) -> list[int | str | _Hole]:
        parts: list[int | str | _Hole] = []
        at = 0
        for found in self._marks.finditer(text):
            if found.start() > at:
                parts.append(text[at : found.start()])
            parts.append(self.added[found.group()])
            at = found.end()
        return parts + ([text[at:]] if text[at:] else [])

    def _fill(self, skeleton: _Skeleton, contents: Sequence[Any]) -> tuple[int, ...]:
        tokens: list[int] = []
        text = ""
        for part in skeleton:
            if isinstance(part, int):
                tokens += self._encode(text)
                tokens.append(part)
                text = ""
            elif isinstance(part, str):
                text += part
            else:
                value = contents[part.index]
                text += json.dumps(value, ensure_ascii=False) if part.quoted else str(value)
        return tuple(tokens + self._encode(text))

    def _encode(self, text: str, parse_marks: bool = False) -> list[int]:
        """Text -> ids in which no mark is ever read, unless the template itself wrote it."""
        if not text:
            return []
        if parse_marks:
            return list(self.tokenizer.encode(text, add_special_tokens=False))
        if self._bytes_only:
            return list(text.encode("utf-8"))
        found = self._marks.search(text)
        if found is None:
            return list(self.tokenizer.encode(text, add_special_tokens=False))
        cut = found.start() + 1  # a mark broken after its first character is plain text
        return self._encode(text[:cut]) + self._encode(text[cut:])


def read_call(body: str, tools: Sequence[Tool]) -> ToolCall:
    """A call as written: `name {json}`, `{"name":..,"arguments":..}`, or the bare argument of the only tool."""
    text = body.strip()
    only = _only_parameter(tools)
    if only is not None and not text.startswith("{"):
        return ToolCall(tools[0].name, {only: body}, raw=body)
    name, _, rest = ("", "", text) if text.startswith("{") else text.partition(" ")
    try:
        data = json.loads(rest)
    except json.JSONDecodeError:
        return ToolCall(name, None, raw=body)
    if not name and isinstance(data, dict):
        name, data = str(data.get("name", "")), data.get("arguments", data.get("parameters"))
    return ToolCall(name, data if isinstance(data, dict) else None, raw=body)


def _only_parameter(tools: Sequence[Tool]) -> str | None:
    if len(tools) != 1:
        return None
    properties = tools[0].parameters.get("properties", {})
    if len(properties) != 1:
        return None
    name, schema = next(iter(properties.items()))
    return str(name) if schema.get("type") == "string" else None


def _slot(index: int) -> str:
    return f"\ue000{index}\ue001"


def _tool_key(tools: Sequence[Tool]) -> tuple[str, ...]:
    return tuple(f"{t.name}:{t.description}:{json.dumps(t.parameters, sort_keys=True)}" for t in tools)


def _as_hole(index: int, message: Message) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": message.role, "content": _slot(index)}
    if message.calls:
        entry["tool_calls"] = [
            {"type": "function", "function": {"name": c.name, "arguments": dict(c.arguments or {})}}
            for c in message.calls
        ]
    return entry
