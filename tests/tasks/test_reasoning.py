import builtins
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, MissingExtra
from evolvent.tasks import ReasoningGym, Source, reasoning
from evolvent.tasks.reasoning import PREFIX, available, pack, read_entry, score, write_entry

FEW = (
    "leg_counting",
    "chain_sum",
    "spell_backward",
    "countdown",
    "simple_integration",
    "binary_matrix",
    "knights_knaves",
    "letter_counting",
)

parts = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.integers() | st.text() | st.tuples(st.integers(), st.integers())
entries = st.recursive(
    parts,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner) | st.sets(st.integers()),
    max_leaves=12,
)


def installed() -> None:
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")


@given(entries)
def test_an_entry_survives_as_json_text(entry):
    assert read_entry(write_entry(entry)) == entry
    json.loads(write_entry(entry))


def test_what_has_no_json_form_is_refused():
    with pytest.raises(BadInput, match="no JSON form"):
        pack(object())


def test_a_missing_package_says_the_line_that_installs_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("reasoning_gym"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    reasoning.all_names.cache_clear()
    reasoning.configurations.cache_clear()
    with pytest.raises(MissingExtra, match=r"pip install 'evolvent\[reasoning\]'"):
        ReasoningGym(("leg_counting",)).levels("reasoning_gym:leg_counting")


@pytest.mark.parametrize("name", FEW)
def test_a_family_accepts_its_own_answer_after_a_trip_through_json(name):
    installed()
    source = ReasoningGym((name,), seed=1)
    family = PREFIX + name
    assert isinstance(source, Source)
    levels = source.levels(family)
    assert levels == tuple(range(1, len(levels) + 1))
    for level in levels[:3]:
        for index in range(5):
            task = from_json(to_json(source.task(family, level, index)))
            assert score(task, task.private.answer).value == 1.0, task
            assert task.judge.load()(task, task.private.solution[-1].text).value == 1.0
            assert score(task, "~").value < 0.5
            assert score(task, "").value < 0.5


def test_a_task_is_the_same_drawn_alone_or_after_others_and_splits_are_disjoint():
    installed()
    family = "reasoning_gym:leg_counting"
    one = ReasoningGym(("leg_counting", "chain_sum"))
    tasks = [one.task(family, 1, index) for index in range(20)]
    assert ReasoningGym(("leg_counting",)).task(family, 1, 13) == tasks[13]
    test = [ReasoningGym(("leg_counting",), seed=9).task(family, 1, index, "test").question for index in range(20)]
    assert not {task.question for task in tasks} & set(test)
    assert len({task.question for task in tasks}) > 10


def test_levels_grow_with_the_curriculum():
    installed()
    assert len(ReasoningGym(("chain_sum",)).levels("reasoning_gym:chain_sum")) > 1
    assert ReasoningGym(("chain_sum",), only_levels=(2,)).levels("reasoning_gym:chain_sum") == (2,)
    with pytest.raises(BadInput, match="none of the levels"):
        ReasoningGym(("chain_sum",), only_levels=(99,)).levels("reasoning_gym:chain_sum")
    with pytest.raises(BadInput, match="no level 99"):
        ReasoningGym(("chain_sum",)).task("reasoning_gym:chain_sum", 99, 0)


def test_unknown_families_and_families_without_answers_are_refused():
    installed()
    with pytest.raises(BadInput, match="leg_counting"):
        ReasoningGym(("leg_conting",)).levels("reasoning_gym:leg_conting")
    with pytest.raises(BadInput, match="keeps no answer"):
        ReasoningGym(("rush_hour",)).task("reasoning_gym:rush_hour", 1, 0)
    with pytest.raises(BadInput, match="cannot make"):
        ReasoningGym(("composite",)).task("reasoning_gym:composite", 1, 0)
    with pytest.raises(BadInput, match="no split"):
        ReasoningGym(("chain_sum",)).task("reasoning_gym:chain_sum", 1, 0, "dev")


def test_an_answer_that_is_code_is_not_evaluated(tmp_path):
    installed()
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').write('x')"
    for name in ("countdown", "binary_matrix", "simple_integration", "puzzle24", "n_queens"):
        task = ReasoningGym((name,)).task(PREFIX + name, 1, 0)
        assert score(task, code).value == 0.0
        assert "not judged" in score(task, code).why
    assert not mark.exists()


@pytest.mark.slow
def test_a_hundred_families_accept_their_own_answers():
    installed()
    names = available()
    assert len(names) >= 100
    assert not {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour", "composite"} & set(names)
    for name in names:
        family = PREFIX + name
        # the programs of codeio draw from generators of their own
        one, two = (ReasoningGym((name,)).task(family, 1, 5) for _ in range(2))
        assert one == two or name == "codeio"
        assert ReasoningGym((name,)).task(family, 1, 0, "test").split == "test"
