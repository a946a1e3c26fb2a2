import json
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.space import Space, read_space

WORDS = {
    "file": "params.json",
    "params": {
        "order": {"kind": "int", "low": 1, "high": 6},
        "width": {"kind": "int", "low": 8, "high": 4096, "log": True},
        "rate": {"kind": "float", "low": 1e-3, "high": 1.0, "log": True},
        "mix": {"kind": "choice", "values": ["a", "b", "c"]},
        "bit": {"kind": "bool"},
    },
}


def space_of(words=WORDS) -> Space:
    return read_space(json.dumps(words).encode())


ends = st.floats(-1e6, 1e6, allow_nan=False)
numbers = st.tuples(ends, ends).map(lambda two: {"kind": "float", "low": min(two), "high": max(two)})
wholes = st.tuples(st.integers(-99, 99), st.integers(-99, 99)).map(
    lambda two: {"kind": "int", "low": min(two), "high": max(two)}
)
logs = st.tuples(st.sampled_from(["int", "float"]), st.integers(1, 10**6), st.integers(1, 10**6)).map(
    lambda three: {"kind": three[0], "low": min(three[1:]), "high": max(three[1:]), "log": True}
)
values = st.lists(st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=3)), min_size=1, max_size=5)
choices = values.filter(lambda found: len({json.dumps(v) for v in found}) == len(found)).map(
    lambda found: {"kind": "choice", "values": found}
)
params = st.one_of(numbers, wholes, logs, choices, st.just({"kind": "bool"}))
spaces = st.dictionaries(st.text("abcxyz_", min_size=1, max_size=6), params, min_size=1, max_size=6).map(
    lambda found: space_of({"file": "params.json", "params": found})
)


@given(spaces, st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_every_proposal_lies_in_the_space_and_survives_its_file(space, seed):
    rng = Random(seed)
    one, other = space.draw(rng), space.draw(rng)
    for point in (one, other, space.mutate(one, rng), space.cross(one, other, rng), space.clip({})):
        assert space.check(point) == point
        assert space.read(space.write(point)) == point


@given(spaces, st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_the_same_seed_gives_the_same_points(space, seed):
    def course(rng):
        point = space.draw(rng)
        return [point, space.mutate(point, rng), space.cross(point, space.draw(rng), rng)]

    assert course(Random(seed)) == course(Random(seed))


@given(st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_mutation_changes_something(seed):
    space, rng = space_of(), Random(seed)
    point = space.draw(rng)
    assert space.key(space.mutate(point, rng)) != space.key(point)


def test_a_child_has_every_parameter_from_one_of_its_parents():
    space, rng = space_of(), Random(1)
    one, other = space.draw(rng), space.draw(rng)
    children = [space.cross(one, other, rng) for _ in range(50)]
    assert all(child[name] in (one[name], other[name]) for child in children for name in child)
    assert len({space.key(child) for child in children}) > 5


def test_a_logarithmic_range_is_drawn_by_its_magnitudes():
    space, rng = space_of(), Random(2)
    rates = [space.draw(rng)["rate"] for _ in range(600)]
    for low in (1e-3, 1e-2, 1e-1):
        assert 150 < sum(low <= rate < 10 * low for rate in rates) < 250


def test_what_agents_wrote_is_clipped_or_refused():
    space = space_of()
    wild = {"order": 99, "width": "x", "rate": math.inf, "mix": 1, "bit": 1}
    assert space.clip(wild) == {"order": 6, "width": 8, "rate": 1e-3, "mix": "a", "bit": False}
    for bad in (b"", b"[1]", b"{}", b"\xff", b"[" * 100_000, json.dumps({**space.clip({}), "more": 1}).encode()):
        assert space.read(bad) is None
    with pytest.raises(BadInput, match="outside of the space") as caught:
        space.check({**space.clip({}), "order": 7})
    assert "1 to 6" in str(caught.value)
    assert "order" in caught.value.where
    with pytest.raises(BadInput, match="outside"):
        space.check({**space.clip({}), "order": True})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a file and params"),
        ({"file": "../x", "params": WORDS["params"]}, "file of parameters"),
        ({"file": "params.json", "params": {}}, "has parameters"),
        ({"file": "params.json", "params": {"a": {"kind": "real"}}}, "has a kind"),
        ({"file": "params.json", "params": {"a": {"kind": "int", "low": 1}}}, "two ends"),
        ({"file": "params.json", "params": {"a": {"kind": "int", "low": 0.5, "high": 2}}}, "two ends"),
        ({"file": "params.json", "params": {"a": {"kind": "float", "low": 2, "high": 1}}}, "two ends"),
        ({"file": "params.json", "params": {"a": {"kind": "float", "low": 0, "high": 1, "log": True}}}, "logarithmic"),
        (
            {"file": "params.json", "params": {"a": {"kind": "float", "low": 0, "high": 1, "lgo": True}}},
            "did you mean low or log",
        ),
        ({"file": "params.json", "params": {"a": {"kind": "choice", "values": ["a", "a"]}}}, "there twice"),
        ({"file": "params.json", "params": {"a": {"kind": "choice", "values": []}}}, "choice has values"),
    ],
)
def test_a_space_that_is_none_says_what_is_wrong(words, said):
    with pytest.raises(BadInput, match=said):
        space_of(words)


def test_what_changed_is_told_in_words():
    space = space_of()
    point = space.clip({"rate": 0.123456})
    assert space.tell({**point, "order": 2, "bit": True}, point) == "order 1 -> 2, bit false -> true"
    assert space.tell(point, point) == "no change"
    assert space.tell(point, None).startswith("order 1, width 8, rate 0.1235")
