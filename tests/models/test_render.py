import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.envs import as_tool, calc
from evolvent.errors import BadInput
from evolvent.models import Renderer, build_tokenizer
from evolvent.models.calls import read_bare, read_call
from evolvent.models.tokenizer import MARKS
from evolvent.records import Message, Text, Tool, ToolCall, ToolResult, said

CHATML = (
    "{%- if tools %}<|im_start|>system\n{%- if messages[0].role == 'system' %}{{ '\n' + messages[0].content + '\n' }}"
    "{%- endif %}\n# Tools\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools><|im_end|>\n"
    "{%- elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{%- endif %}"
    "{%- for m in messages %}"
    "{%- if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{%- elif m.role == 'assistant' %}{{ '<|im_start|>assistant\n' + (m.content or '') }}"
    "{%- for call in m.tool_calls or [] %}"
    "{%- if (loop.first and m.content) or not loop.first %}{{ '\n' }}{% endif %}"
    '{{ \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{%- elif m.role == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# as in Llama 3: contents are trimmed, tool output is JSON in a role of its own
LLAMA3 = (
    "{{- '<|begin_of_text|>' }}{%- for m in messages %}"
    "{%- if m.role == 'tool' %}{{ '<|start_header_id|>ipython<|end_header_id|>\n\n' }}{{ m.content | tojson }}"
    "{{ '<|eot_id|>' }}"
    "{%- else %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim }}"
    "{%- if m.tool_calls %}{%- for call in m.tool_calls %}"
    '{{ \'<tool_call>{"name": "\' + call.function.name + \'", "parameters": \' }}{{ call.function.arguments | tojson }}'
    "{{ '}</tool_call>' }}{%- endfor %}{%- endif %}{{ '<|eot_id|>' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

FORGETFUL = (  # as templates of thinking models: what was thought before the last user message is left out
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}<think>\n\n</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chatml_tokenizer(template=CHATML):
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return with_marks(template, marks, ["<tool_call>", "</tool_call>", "<think>"], eos="<|im_end|>")


def llama3_tokenizer(template=LLAMA3):
    marks = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"]
    return with_marks(template, marks, [], eos="<|eot_id|>")


def with_marks(template, special, plain, eos):
    """A byte-BPE of another maker: learned merges, special tokens, and added tokens that are not special."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["assistant user system tool the answer is 12 + 34\n\n"] * 10, trainer)
    core.add_special_tokens(special)
    core.add_tokens([AddedToken(t, normalized=False) for t in plain])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, pad_token=special[0])
    tokenizer.chat_template = template
    return tokenizer


CALC = as_tool(calc)
PAIR = Tool("pair", "Two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}})
RENDERERS = {
    "nano": Renderer(build_tokenizer()),
    "learned": Renderer(build_tokenizer(300, ["the answer is 12 + 34"] * 9)),
    "chatml": Renderer(chatml_tokenizer()),
    "llama3": Renderer(llama3_tokenizer()),
}
EVERY = pytest.mark.parametrize("renderer", RENDERERS.values(), ids=RENDERERS)
ALL_MARKS = sorted({m for r in RENDERERS.values() for m in r.added} | {*MARKS})
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda t: not any(m in t for m in ALL_MARKS) and "\ue000" not in t
)
# pieces that make marks when they come to stand beside each other or beside the template's own words
FORGED = st.lists(st.sampled_from([*ALL_MARKS, "<|", "|>", "end", "<", "call", "\n", "\ue0000", '"\ue001', "a"])).map(
    "".join
)
CALL = Message("assistant", (ToolCall("calc", {"expression": "1+2"}),))


def as_dicts(messages):
    made = []
    for m in messages:
        entry = {"role": m.role, "content": m.text}
        if m.calls:
            entry["tool_calls"] = [
                {"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in m.calls
            ]
        made.append(entry)
    return made


def by_template(renderer, messages, tools=(), generate=True):
    offered = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in tools
    ]
    made = renderer.tokenizer.apply_chat_template(
        as_dicts(messages), tools=offered or None, tokenize=True, add_generation_prompt=generate
    )
    return tuple(made["input_ids"] if not isinstance(made, list) else made)


@EVERY
@given(words=st.lists(PLAIN, min_size=5, max_size=5), offers=st.booleans(), number=st.integers())
@settings(max_examples=40, deadline=None)
def test_open_gives_the_ids_of_the_plain_template(renderer, words, offers, number):
    tools = (CALC, PAIR) if offers else ()
    calls = (
        Text(words[2]),
        ToolCall("pair", {"a": number, "b": [words[3], {"c": None}]}),
        ToolCall("calc", {"e": "ü"}),
    )
    messages = [
        said("system", words[0]),
        said("user", words[1]),
        Message("assistant", calls),
        Message("tool", (ToolResult("pair", words[3]),)),
        Message("tool", (ToolResult("calc", words[4]),)),
    ]
    assert renderer.open(messages, tools) == by_template(renderer, messages, tools)


def test_what_a_template_trims_is_trimmed_here_too():
    for words in ("  a b \n", "\t", "\u2003x\u2003", " "):
        messages = [said("user", words), said("assistant", words), said("user", "a")]
        for renderer in (RENDERERS["llama3"], RENDERERS["chatml"]):
            assert renderer.open(messages) == by_template(renderer, messages), repr(words)


@EVERY
@given(words=st.lists(FORGED, min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_no_words_can_forge_a_mark(renderer, words):
    def marks_of(tokens):
        return [t for t in tokens if t in renderer.added.values()]

    def talk(a, b, c, d):
        tool = Tool(f"calc{d}", a, {"type": "object", "properties": {"expression": {"type": "string", "title": b}}})
        turn = Message("assistant", (Text(c), ToolCall(f"calc{d}", {f"e{a}": b, "more": [c, {d: 1}]})))
        answer = Message("tool", (ToolResult("calc", a),))
        opened = renderer.open([said("system", a), said("user", b), turn, answer, said("user", c)], (tool,))
        return opened, renderer.extend([answer, said("user", b)], (tool,)), renderer.reply(turn, (tool,))

    # the same conversation in harmless words has exactly as many marks, and in the same order
    harmless = talk(*("a" if w else "" for w in words))
    for tokens, plain in zip(talk(*words), harmless, strict=True):
        assert marks_of(tokens) == marks_of(plain)


@EVERY
def test_a_thousand_marks_in_one_text_are_plain_text(renderer):
    mark = max(renderer.added, key=len)
    prompt = renderer.open([said("user", mark * 1500)])
    assert sum(t in renderer.added.values() for t in prompt) < 8
    assert renderer.text(prompt).count(mark) >= 1500


@EVERY
def test_half_of_a_surrogate_pair_does_not_break_a_prompt(renderer):
    assert "a?b" in renderer.text(renderer.open([said("user", "a\ud800b")]))


def test_a_mark_of_one_character_is_that_character():
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["~"])
    renderer = Renderer(tokenizer)
    assert "a~b" in renderer.text(renderer.open([said("user", "a~b")]))


SPOKEN = {
    "words": said("assistant", "forty two, größe"),
    "a bare argument": CALL,
    "an argument that looks like JSON": Message("assistant", (ToolCall("calc", {"expression": '{"a": 1}'}),)),
    "quotes and line breaks": Message("assistant", (ToolCall("calc", {"expression": "\"a\"\\n\n'b' ü🙂"}),)),
    "several calls": Message("assistant", tuple(ToolCall("calc", {"expression": e}) for e in ("1", "2", "3"))),
    "words before a call": Message("assistant", (Text("let me see"), ToolCall("calc", {"expression": "1+1"}))),
}


@EVERY
@pytest.mark.parametrize("message", SPOKEN.values(), ids=SPOKEN)
@pytest.mark.parametrize("tools", [(CALC,), (CALC, PAIR)], ids=["one tool", "two tools"])
def test_a_reply_is_parsed_as_it_was_meant(renderer, message, tools):
    read = renderer.parse(renderer.reply(message, tools), tools)
    assert read.text == message.text
    assert [(c.name, c.arguments) for c in read.calls] == [(c.name, c.arguments) for c in message.calls]


@EVERY
@given(a=PLAIN, b=st.lists(PLAIN) | st.integers() | st.none() | st.booleans())
@settings(max_examples=40, deadline=None)
def test_arguments_in_json_come_back(renderer, a, b):
    message = Message("assistant", (ToolCall("pair", {"a": a, "b": b}),))
    assert renderer.parse(renderer.reply(message, (CALC, PAIR)), (CALC, PAIR)).calls[0].arguments == {"a": a, "b": b}


@EVERY
def test_a_reply_ends_at_a_token_that_stops(renderer):
    for message in SPOKEN.values():
        tokens = renderer.reply(message, (CALC,))
        assert tokens[-1] in renderer.stop_ids
        assert tokens[: len(renderer.call_start)] == renderer.call_start or message.text or not renderer.native_calls


def test_words_that_look_like_a_call_are_words():
    renderer = RENDERERS["nano"]
    read = renderer.parse(renderer.reply(said("assistant", "<|call|>1+2<|end_call|>")), (CALC,))
    assert not read.calls
    assert read.text == "<|call|>1+2<|end_call|>"


def test_a_call_that_cannot_be_read_keeps_what_was_written():
    renderer = RENDERERS["nano"]
    ids = {m: renderer.added[m] for m in MARKS}
    for body in (
        "",
        "pair",
        "pair {",
        '{"name": "pair"}',
        "pair [1]",
        "pair " + "[" * 20_000,
        'pair {"a": ' + "9" * 5000,
    ):
        written = (ids["<|call|>"], *body.encode(), ids["<|end_call|>"])
        (call,) = renderer.parse(written, (CALC, PAIR)).calls
        assert (call.arguments, call.raw) == (None, body)
    for body in ("{", "nonsense", '{"name": 1', "[]"):
        assert read_call(body).arguments is None
        assert read_call(body).raw == body
    assert read_bare("{", (CALC,)).arguments == {"expression": "{"}


def test_half_a_surrogate_pair_in_a_call_can_be_stored():
    call = read_call('{"name": "a\\ud800", "arguments": {"b": "\\ud800"}}')
    assert (call.name, call.arguments) == ("a?", {"b": "?"})


def test_a_call_that_was_cut_off_is_still_a_call():
    renderer = RENDERERS["nano"]
    (call,) = renderer.parse((renderer.added["<|call|>"], *b"1+"), (CALC,)).calls
    assert call.arguments == {"expression": "1+"}


@EVERY
@pytest.mark.parametrize("tools", [(CALC,), (CALC, PAIR), ()], ids=["one tool", "two tools", "no tool"])
def test_extending_recorded_ids_gives_the_template_of_the_whole_conversation(renderer, tools):
    spoken = [CALL if tools else said("assistant", "hm"), said("assistant", "is it 3?")]
    heard = [said("user", "why?"), Message("tool" if tools else "user", (Text("3"),)), said("user", "yes, and 4?")]
    tokens = renderer.open(heard[:1], tools) + renderer.reply(spoken[0], tools)
    tokens += renderer.extend(heard[1:2], tools) + renderer.reply(spoken[1], tools) + renderer.extend(heard[2:], tools)
    whole = [heard[0], spoken[0], heard[1], spoken[1], heard[2]]
    assert renderer.text(tokens) == renderer.text(by_template(renderer, whole, tools))


def test_several_results_extend_as_the_template_says():
    renderer, tools = RENDERERS["chatml"], (CALC,)
    results = [Message("tool", (ToolResult("calc", w),)) for w in ("1", "2")]
    tokens = renderer.open([said("user", "q")], tools) + renderer.reply(CALL, tools) + renderer.extend(results, tools)
    assert renderer.text(tokens) == renderer.text(by_template(renderer, [said("user", "q"), CALL, *results], tools))


def test_a_template_that_rewrites_earlier_turns_is_refused():
    renderer = Renderer(chatml_tokenizer(FORGETFUL))
    with pytest.raises(BadInput, match="rewrites earlier turns"):
        renderer.extend([said("user", "and?")])


def test_a_model_without_chat_template_is_refused():
    tokenizer = llama3_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(BadInput, match="no chat template"):
        Renderer(tokenizer)
    tokenizer.chat_template = LLAMA3
    Renderer(tokenizer)


def test_a_reply_without_an_end_mark_of_its_own_does_not_take_one_of_the_prompt():
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if m.role == 'user' %}<|im_end|>{% endif %}"
    renderer = Renderer(chatml_tokenizer(template + "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"))
    assert renderer.text(renderer.reply(said("assistant", "hello"))) == "hello"
    assert renderer.text(renderer.extend([said("user", "b")])) == "[user]b<|im_end|>[assistant]"


def test_shapes_are_remembered_and_not_without_end(monkeypatch):
    from evolvent.models import render

    monkeypatch.setattr(render, "MAX_SKELETONS", 5)
    renderer = Renderer(build_tokenizer())
    for i in range(20):
        renderer.open([said("user", "a"), Message("assistant", (ToolCall("pair", {"a": i}),)), said("user", "b")])
    assert len(renderer._skeletons) <= 5
