"""Messages to token ids and back, by the tokenizer's own chat template, so that no text can forge a mark."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput
from evolvent.models.calls import read_bare, read_call, well_formed
from evolvent.models.tokenizer import CALL, END_CALL
from evolvent.records import Block, Message, Text, Tool, ToolCall

# A slot stands where a text will be: private-use characters, which survive any template, between em spaces, which a
# template that trims takes off; the quotation mark in it comes back escaped where the template writes JSON.
_SLOT = re.compile('(\u2003?)\ue000([0-9]+)(\\\\?")\ue001(\u2003?)')
MAX_SKELETONS = 4096  # shapes remembered; calls with numbers in them each have a shape of their own


@dataclass(frozen=True, slots=True)
class _Hole:
    """A place for a text: in JSON or as it is, and trimmed on the sides where the template trims."""

    index: int
    in_json: bool
    trims_left: bool
    trims_right: bool

    def fill(self, text: str) -> str:
        """The text as it stands in this place."""
        text = text.lstrip() if self.trims_left else text
        text = text.rstrip() if self.trims_right else text
        return json.dumps(text, ensure_ascii=False)[1:-1] if self.in_json else text


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
        # an added token of one character cannot be broken, and stands for nothing but that character
        self._long = {text: number for text, number in self.added.items() if len(text) > 1}
        self._marks = re.compile("|".join(sorted(map(re.escape, self._long), key=len, reverse=True)) or r"(?!)")
        self._long_ids = frozenset(self._long.values())
        self.native_calls = CALL in self.added
        ends = {tokenizer.eos_token, END_CALL if self.native_calls else None} - {None}
        ends |= {t for t in ("<|im_end|>", "<|eot_id|>", "<|eom_id|>") if t in self.added}
        self.end_marks = tuple(sorted(str(e) for e in ends))
        self.stop_ids = frozenset(self.added[e] for e in self.end_marks if e in self.added)
        self.call_id: int | None = self.added.get(END_CALL)
        self.call_start: tuple[int, ...] = (
            (self.added[CALL],)
            if self.native_calls
            else tuple(tokenizer.encode("<tool_call>\n", add_special_tokens=False))
        )
        self._bytes_only = tokenizer.vocab_size == 256 and self.native_calls
        self._skeletons: dict[Any, _Skeleton] = {}

    # ------------------------------------------------------------ words to tokens

    def open(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """The prompt for a first turn: all messages, and the mark that it is the assistant's turn to speak."""
        return self._render("open", messages, tools)

    def extend(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """What stands between a finished completion and the next one: new messages and the assistant's mark."""
        return self._render("extend", messages, tools)

    def reply(self, message: Message, tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """The tokens a policy would have to write to say `message`, its end mark included."""
        return self._render("reply", [message], tools)

    @property
    def end(self) -> tuple[int, ...]:
        """The mark that ends a reply, for one that stopped before it."""
        return self.reply(Message("assistant", (Text("a"),)))[len(self.plain("a")) :]

    def plain(self, text: str) -> tuple[int, ...]:
        """Bare words, part of a message that goes on; no mark is ever read in them."""
        return tuple(self._encode(text))

    def _render(self, what: str, messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[int, ...]:
        texts: list[str] = []
        entries = [self._entry(m, texts) for m in messages]
        key = (what, json.dumps(entries), _tool_key(tools))
        skeleton = self._skeletons.get(key)
        if skeleton is None:
            if len(self._skeletons) >= MAX_SKELETONS:
                self._skeletons.clear()
            # the words of tools come from outside as well, and are part of the shape
            fixed = list(texts)
            offered = [self._offer(t, fixed) for t in tools]
            made = {"open": self._opened, "extend": self._bridge, "reply": self._spoken}[what](entries, offered)
            skeleton = self._skeletons[key] = self._split(made, len(texts), fixed)
        return self._fill(skeleton, texts)

    # ------------------------------------------------------------ tokens to words

    def text(self, tokens: Sequence[int]) -> str:
        """Token ids as text, marks shown; bytes that are no character become the replacement sign."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def parse(self, tokens: Sequence[int], tools: Sequence[Tool] = ()) -> Message:
        """What a policy wrote, as a message; a call that cannot be read keeps its text in `raw`."""
        words = list(tokens)
        while words and words[-1] in self.stop_ids and words[-1] != self.call_id:
            words.pop()
        blocks: list[Block] = []
        for is_call, part in self._marked_calls(words) if self.native_calls else _tagged_calls(self.text(words)):
            if is_call:
                blocks.append(read_bare(part, tools) if self.native_calls else read_call(part))
            elif part:
                blocks.append(Text(part))
        return Message("assistant", tuple(blocks))

    def _marked_calls(self, words: Sequence[int]) -> Iterator[tuple[bool, str]]:
        """(is a call, text) between the marks of a call; only the marks themselves count, not text that looks so."""
        start, inside = 0, False
        for i, token in enumerate(words):
            if token == (self.call_id if inside else self.call_start[0]):
                yield inside, self.text(words[start:i])
                start, inside = i + 1, not inside
        yield inside, self.text(words[start:])

    # ------------------------------------------------------------ the template, once per shape

    def _entry(self, message: Message, texts: list[str]) -> dict[str, Any]:
        """A message as templates take it, with a slot for every text; empty texts stay, as templates ask for them."""
        entry: dict[str, Any] = {"role": message.role, "content": _slot_for(message.text, texts)}
        if message.calls:
            entry["tool_calls"] = [self._called(call, texts) for call in message.calls]
        return entry

    def _called(self, call: ToolCall, texts: list[str]) -> dict[str, Any]:
        arguments = {
            self._harmless(name, texts): _slot_for(value, texts)
            if isinstance(value, str)
            else self._harmless(value, texts)
            for name, value in (call.arguments or {}).items()
        }
        return {"type": "function", "function": {"name": self._harmless(call.name, texts), "arguments": arguments}}

    def _offer(self, tool: Tool, texts: list[str]) -> dict[str, Any]:
        words = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        return {"type": "function", "function": self._harmless(words, texts)}

    def _harmless(self, value: Any, texts: list[str]) -> Any:
        """The value with a slot for each string in it that holds a mark."""
        if isinstance(value, str):
            return _slot_for(value, texts) if self._marks.search(value) or "\ue000" in value else value
        if isinstance(value, Mapping):
            return {self._harmless(k, texts): self._harmless(v, texts) for k, v in value.items()}
        return [self._harmless(v, texts) for v in value] if isinstance(value, list | tuple) else value

    def _template(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], generate: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                list(messages), tools=list(tools) or None, tokenize=False, add_generation_prompt=generate
            )
        )

    def _opened(self, entries: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> str:
        return self._template(entries, tools, True)

    def _bridge(self, entries: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> str:
        before: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
        first: dict[str, Any] = {"role": "assistant", "content": "a"}
        if entries and entries[0]["role"] == "tool" and tools:
            told = tools[0]["function"]
            arguments = dict.fromkeys(told["parameters"].get("properties", {}), "x")
            call = {"type": "function", "function": {"name": told["name"], "arguments": arguments}}
            first = {"role": "assistant", "content": "", "tool_calls": [call]}
        start = self._template(before, tools, False)
        early = self._template([*before, first], tools, False)
        late = self._template([*before, first, *entries], tools, True)
        if not late.startswith(early):
            raise BadInput(
                "the chat template rewrites earlier turns when a message is added",
                where=getattr(self.tokenizer, "name_or_path", ""),
                got="a conversation whose beginning changes",
                wanted="a template whose text only grows (multi-turn traces extend the recorded ids)",
                cure="use a training variant of the template that keeps earlier turns as they were",
            )
        return early[self._end(early, len(start)) :] + late[len(early) :]

    def _spoken(self, entries: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> str:
        before = [{"role": "user", "content": "q"}]
        start = self._template(before, tools, True)
        whole = self._template([*before, *entries], tools, False)
        if not whole.startswith(start):
            raise BadInput(
                "the chat template writes a reply that does not begin with its own generation mark",
                where=getattr(self.tokenizer, "name_or_path", ""),
                cure="use a template whose generation prompt is a prefix of the finished turn",
            )
        return whole[len(start) : self._end(whole, len(start))]

    def _end(self, text: str, start: int) -> int:
        """Where the last mark ends that ends a turn, from `start` on."""
        ends = [text.rfind(mark, start) + len(mark) for mark in self.end_marks if mark in text[start:]]
        return max(ends, default=len(text))

    def _split(self, text: str, num_open: int, fixed: Sequence[str]) -> _Skeleton:
        """Template text -> marks as ids, other text, and holes; texts from `num_open` on are filled in at once."""
        parts: list[int | str | _Hole] = []
        at = 0
        for found in _SLOT.finditer(text):
            parts += self._split_marks(text[at : found.start()])
            hole = _Hole(int(found[2]), found[3] != '"', not found[1], not found[4])
            parts.append(hole if hole.index < num_open else hole.fill(fixed[hole.index]))
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

    def _fill(self, skeleton: _Skeleton, texts: Sequence[str]) -> tuple[int, ...]:
        tokens: list[int] = []
        text = ""
        for part in skeleton:
            if isinstance(part, int):
                tokens += self._encode(text)
                tokens.append(part)
                text = ""
            else:
                text += part if isinstance(part, str) else part.fill(texts[part.index])
        return tuple(tokens + self._encode(text))

    def _encode(self, text: str) -> list[int]:
        """Text -> ids in which no mark is ever read: one broken after its first character is plain text."""
        if self._bytes_only:
            return list(text.encode("utf-8", "replace"))
        tokens: list[int] = []
        text = well_formed(text)
        while found := self._marks.search(text):
            tokens += self._plain(text[: found.start() + 1])
            text = text[found.start() + 1 :]
        return tokens + self._plain(text)

    def _plain(self, text: str) -> list[int]:
        tokens = list(self.tokenizer.encode(text, add_special_tokens=False)) if text else []
        if self._long_ids.isdisjoint(tokens):
            return tokens
        # the tokenizer reads marks more widely than they are written (in capitals, say)
        return [t for letter in text for t in self.tokenizer.encode(letter, add_special_tokens=False)]


def _tagged_calls(text: str) -> Iterator[tuple[bool, str]]:
    """(is a call, text) of words with <tool_call> tags; line breaks between tags belong to the template."""
    at = 0
    for found in re.finditer(r"\n?<tool_call>(.*?)(?:</tool_call>|\Z)", text, re.DOTALL):
        yield False, text[at : found.start()]
        yield True, found[1]
        at = found.end()
    yield False, text[at:]


def _slot_for(text: str, texts: list[str]) -> str:
    if not text:
        return ""
    texts.append(text)
    return f'\u2003\ue000{len(texts) - 1}"\ue001\u2003'


def _tool_key(tools: Sequence[Tool]) -> tuple[str, ...]:
    return tuple(json.dumps([t.name, t.description, t.parameters], sort_keys=True) for t in tools)
