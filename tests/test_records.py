import dataclasses
import json
import math
import sys
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolvent import records
from evolvent.codec import decode, encode, from_json, locate, path_of, to_json
from evolvent.errors import BadInput
from evolvent.records import (
    Cell,
    Comparison,
    Completion,
    Episode,
    Estimate,
    Fault,
    Finding,
    Finish,
    Group,
    Image,
    Message,
    Origin,
    Outcome,
    Private,
    Prompt,
    Reference,
    Report,
    Sampling,
    Score,
    Span,
    Task,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Trace,
    Turn,
    Weakness,
    said,
)

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.text(st.characters(), max_size=6)  # surrogates and NUL included
whole = st.integers(-(2**70), 2**70)
real = st.floats()  # NaN, both infinities and -0.0 included
plain = st.one_of(st.none(), st.booleans(), whole, real, words, st.binary(max_size=4))


def few(strategy):
    return st.lists(strategy, max_size=3).map(tuple)


keys = st.one_of(words, st.sampled_from(["is", "value", "name"]))
anything = st.recursive(
    plain, lambda inner: st.one_of(few(inner), st.dictionaries(keys, inner, max_size=3)), max_leaves=6
)
mapping = st.dictionaries(keys, anything, max_size=3)
numbers = st.dictionaries(keys, real, max_size=3)

BLOCKS = {
    Text: st.builds(Text, words),
    Image: st.builds(Image, words),
    ToolCall: st.builds(ToolCall, words, st.none() | mapping, words),
    ToolResult: st.builds(ToolResult, words, words, st.booleans()),
}
message = st.builds(Message, words, few(st.one_of(*BLOCKS.values())))
tool = st.builds(Tool, words, words, mapping)
sampling = st.builds(Sampling, whole, real, real, whole, whole)
name = st.one_of(words, whole)
reference = st.builds(Reference, words, mapping)
private = st.builds(Private, words, mapping, few(message))
origin = st.builds(Origin, words, few(words))
task = st.builds(Task, words, words, whole, few(message), st.none() | private, reference, origin, words)
span = st.builds(Span, whole, whole, whole, real)
score = st.builds(Score, real, numbers, words, few(span))
fault = st.builds(Fault, words, words, words)
turn = st.builds(
    Turn, words, st.none() | words, words, whole, message, few(whole), few(st.booleans()), few(real), few(real),
    words, whole, words, st.none() | sampling, st.booleans(),
)  # fmt: skip
trace = st.builds(
    Trace, words, whole, words, words, few(turn), st.sampled_from(Outcome), words, st.none() | fault,
    st.none() | score, st.booleans(),
)  # fmt: skip
estimate = st.builds(Estimate, real, real, real, whole)
cell = st.builds(
    Cell, words, whole, few(words), few(real), few(real), few(real), few(real), few(real), whole
)  # fmt: skip
weakness = st.builds(Weakness, words, whole, estimate, few(words))

RECORDS = {
    **BLOCKS,
    Message: message,
    Tool: tool,
    Sampling: sampling,
    Prompt: st.builds(
        Prompt, few(message), few(tool), st.none() | few(whole), few(name), st.none() | words, st.none() | whole
    ),
    Completion: st.builds(
        Completion, few(whole), words, few(real), few(real), whole, st.sampled_from(Finish), words,
        st.none() | message, whole, real, words,
    ),
    Reference: reference,
    Private: private,
    Origin: origin,
    Task: task,
    Turn: turn,
    Fault: fault,
    Span: span,
    Score: score,
    Trace: trace,
    Episode: st.builds(Episode, words, task, whole, few(trace), words, mapping),
    Group: st.builds(Group, few(name), few(trace)),
    Comparison: st.builds(Comparison, words, few(words), few(whole), words, few(whole), words),
    Estimate: estimate,
    Cell: cell,
    Weakness: weakness,
    Report: st.builds(
        Report, whole, words, few(cell), st.dictionaries(keys, estimate, max_size=2), few(weakness), words, whole
    ),
    Finding: st.builds(Finding, words, words, numbers, mapping, st.booleans(), words, few(words)),
}  # fmt: skip


def alike(a, b):
    """Equal, with NaN equal to itself, 0.0 apart from -0.0, and True apart from 1."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[k], b[k]) for k in a)
    if dataclasses.is_dataclass(a):
        return all(alike(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return a == b


def test_every_record_has_a_strategy():
    ours = {
        thing
        for thing in vars(records).values()
        if isinstance(thing, type) and dataclasses.is_dataclass(thing) and thing.__module__ == records.__name__
    }
    assert ours == set(RECORDS)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda k: k.__name__)
@quick
@given(data=st.data())
def test_a_record_survives_json(kind, data):
    record = data.draw(RECORDS[kind])
    text = to_json(record)
    text.encode("ascii")
    back = from_json(text)
    assert alike(back, record)
    assert to_json(back) == text
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@quick
@given(anything)
def test_a_value_survives_json(value):
    assert alike(from_json(to_json(value)), value)


@pytest.mark.parametrize("member", [*Outcome, *Finish])
def test_a_word_of_a_closed_list_survives_as_itself(member):
    back = from_json(to_json({"outcome": member}))["outcome"]
    assert back is member


@pytest.mark.parametrize("kind", RECORDS, ids=lambda k: k.__name__)
def test_a_record_cannot_be_changed(kind):
    record = object.__new__(kind)
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        setattr(record, dataclasses.fields(kind)[0].name, 1)


def test_functions_and_classes_travel_by_their_path():
    assert from_json(to_json(said)) is said
    assert from_json(to_json((Task, said))) == (Task, said)
    assert encode(said) == {"is": "function", "value": "evolvent.records:said"}


def test_a_reference_carries_code_and_its_arguments():
    assert Reference("evolvent.records:said", {"role": "user"}).load()(text="hi") == said("user", "hi")
    assert Reference("evolvent.records:said").load() is said


def nested():
    return None


@pytest.mark.parametrize("thing", [lambda: 0, (1).bit_length, {1, 2}, {1: 2}, object(), 1j])
def test_what_has_no_json_form_says_so(thing):
    with pytest.raises(BadInput):
        to_json(thing)


def test_a_local_class_or_function_says_where_to_move_it():
    @dataclass(frozen=True)
    class Local:
        number: int

    def local():
        return None

    for thing in (Local(1), local, Local):
        with pytest.raises(BadInput, match="move it to the top level"):
            to_json(thing)
    assert path_of(nested).endswith(":nested")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1', ["not JSON", "line 1, column 8"]),
        ("", ["not JSON", "line 1, column 1"]),
        ('{"a":\n [1, nul]}', ["line 2, column 6"]),
        ('{"is": "evolvent.records:Tusk"}', ["nothing found at 'evolvent.records:Tusk'", "wanted", "cure"]),
        ('{"is": "evolvent.nowhere:Task"}', ["nothing found", "ModuleNotFoundError"]),
        ('{"is": ".records:Task"}', ["nothing found", "package.module:name"]),
        ('{"is": ""}', ["nothing found"]),
        ('{"is": 5}', ["names no class", "got:    5"]),
        ('{"is": ["a"]}', ["names no class"]),
        ('{"is": null}', ["names no class"]),
        ('{"is": "float"}', ["not a float", "where:  float"]),
        ('{"is": "float", "value": "much"}', ["not a float", "much"]),
        ('{"is": "bytes", "value": "?"}', ["not a bytes"]),
        ('{"is": "dict", "value": 3}', ["not a dict"]),
        (
            '{"is": "dict", "value": {"is": {"is": "evolvent.records:Tusk"}}}',
            ["nothing found at 'evolvent.records:Tusk'"],
        ),
        ('{"is": "function", "value": "os:nothing"}', ["nothing found at 'os:nothing'"]),
        ('{"is": "evolvent.records:Text"}', ["cannot rebuild", "where:  evolvent.records:Text", "wanted: text"]),
        ('{"is": "evolvent.records:Text", "txet": "a"}', ["has no 'txet'", "did you mean text?"]),
        (
            '{"is": "evolvent.records:Outcome", "value": "great"}',
            ["no such", "where:  evolvent.records:Outcome", "ok | agent failed"],
        ),
        ('{"is": "evolvent.records:Outcome"}', ["no such evolvent.records:Outcome"]),
    ],
)
def test_a_broken_text_says_what_and_where(text, told):
    with pytest.raises(BadInput) as caught:
        from_json(text)
    assert all(part in str(caught.value) for part in told), str(caught.value)


@pytest.mark.parametrize(
    "path", ["os:system", "builtins:dict", "subprocess:Popen", "evolvent.records:said", "evolvent.records:Block"]
)
def test_a_file_can_only_name_records_never_run_a_function(path):
    with pytest.raises(BadInput, match="only records are rebuilt"):
        from_json(json.dumps({"is": path, "command": "false"}))


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Own:
    colour: Colour
    part: object


def test_records_of_a_users_own_module_survive(monkeypatch):
    module = ModuleType("my_parts")
    module.Own, module.Colour = Own, Colour
    monkeypatch.setitem(sys.modules, "my_parts", module)
    for kind in (Own, Colour):
        monkeypatch.setattr(kind, "__module__", "my_parts")
    own = Own(Colour.RED, (Text("a"), {"is": b"\x00"}))
    assert alike(from_json(to_json(own)), own)
    assert locate("my_parts:Own") is Own


def test_lists_come_back_as_tuples():
    assert decode(encode([1, [2, {"a": [3]}]])) == (1, (2, {"a": (3,)}))


def test_the_worst_outcome_of_the_traces_is_that_of_the_episode():
    def episode(*outcomes):
        traces = tuple(Trace("t", 0, "a", "p", (), outcome=o) for o in outcomes)
        return Episode("t/0", Task("t", "f", 0, (), None, Reference("a:b"), Origin("made")), 0, traces)

    assert episode().outcome is Outcome.OK
    assert episode(Outcome.OK, Outcome.AGENT_FAILED).outcome is Outcome.AGENT_FAILED
    worst = episode(Outcome.AGENT_FAILED, Outcome.VERIFIER_FAILED, Outcome.INFRASTRUCTURE_FAILED)
    assert worst.outcome is Outcome.INFRASTRUCTURE_FAILED
    assert [o.carries_reward for o in Outcome] == [True, True, False, False]


def test_a_trace_is_its_turns_in_order():
    call = ToolCall("calc", {"e": "1"}, "1")
    heard = Turn("0", None, "a", 0, Message("user", (ToolCall("not", {}),)), (1, 2), (False, False))
    spoken = Turn("1", "0", "a", 1, Message("assistant", (Text("x"), call)), (3,), (True,))
    trace = Trace("t", 0, "a", "p", (heard, spoken))
    assert (trace.tokens, trace.mask, trace.calls) == ((1, 2, 3), (False, False, True), (call,))


def test_a_prompt_has_the_room_of_the_narrower_limit():
    assert [Prompt((), max_tokens=m).room(Sampling(8)) for m in (None, 3, 9)] == [8, 3, 8]
