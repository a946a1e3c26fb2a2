"""Tokenizers that never lose a byte: 256 bytes and a few marks, or a byte-BPE learned from given texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END = "<|pad|>", "<|end|>"
SYSTEM, USER, ASSISTANT, TOOL, TOOLS = "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|tools|>"
CALL, END_CALL = "<|call|>", "<|end_call|>"
MARKS = (PAD, END, SYSTEM, USER, ASSISTANT, TOOL, TOOLS, CALL, END_CALL)

# A call is `name {json}`; where one tool with one string parameter is on offer, the call is that string alone, and the
# name is all that is said of it. Else each tool has a line: what it does, its name, its parameters; without spaces, for
# a byte-BPE spells a word behind a space in other tokens, and what is spelt otherwise cannot be copied.
CHAT_TEMPLATE = (
    "{%- if tools %}<|tools|>"
    "{%- if tools | length == 1 and tools[0].function.parameters.properties | length == 1"
    " and (tools[0].function.parameters.properties.values() | first).type == 'string' %}{{ tools[0].function.name }}"
    "{%- else %}{% for tool in tools %}{{ tool.function.description }}:{{ tool.function.name }}"
    "({{ tool.function.parameters.properties | join(',') }})\n{% endfor %}{% endif %}{% endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}<|assistant|>{{ message.content or '' }}"
    "{%- if message.tool_calls %}{% for call in message.tool_calls %}<|call|>"
    "{%- if tools and tools | length == 1 and tools[0].function.parameters.properties | length == 1"
    " and (tools[0].function.parameters.properties.values() | first).type == 'string' %}"
    "{{ call.function.arguments.values() | first }}"
    "{%- else %}{{ call.function.name }} {{ call.function.arguments | tojson }}{% endif %}"
    "<|end_call|>{% endfor %}{% else %}<|end|>{% endif %}"
    "{%- else %}{{ '<|' + message.role + '|>' }}{{ message.content }}{% endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer(vocab_size: int | None = None, texts: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: `vocab_size=None` is bytes and marks alone, a number learns merges from `texts`."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(BPE(vocab=_byte_vocab(), merges=[]))
    learns = vocab_size is not None
    core.pre_tokenizer = _splitter(learns, pre_tokenizers)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(MARKS))
    if vocab_size is not None:
        core = _learn_merges(core, vocab_size, texts)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[m for m in MARKS if m not in (END, PAD)],
        clean_up_tokenization_spaces=False,
        model_max_length=1 << 20,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _splitter(learns: bool, pre_tokenizers: Any) -> Any:
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=learns)
    if not learns:
        return whole
    # digits stay single, so that numbers are spelt the same way wherever they stand
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole])


def _byte_vocab() -> dict[str, int]:
    """Byte value -> the printable character that byte-level tokenizers write for it; the id is the byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [b for b in range(256) if b not in set(printable)]
    characters = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(shifted)}
    return {characters[b]: b for b in range(256)}


def _learn_merges(core: Any, vocab_size: int, texts: Iterable[str]) -> Any:
    from tokenizers import trainers

    floor = 256 + len(MARKS)
    if vocab_size < floor:
        raise BadInput(
            "the vocabulary is too small",
            where="model.vocab_size",
            got=vocab_size,
            wanted=f">= {floor} (256 bytes and {len(MARKS)} marks)",
            cure="leave it out for plain bytes, or give a larger number such as 512",
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(MARKS),
        initial_alphabet=list(_byte_vocab()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return core
