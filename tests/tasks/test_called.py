import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.tasks import Dataset, Procedural, ReasoningGym, Several, source


def test_names_of_families_become_one_procedural_source():
    assert source("countdown", seed=4) == Procedural(("countdown",), 4)
    assert source("countdown, digits") == Procedural(("countdown", "digits"))
    assert source("countdown:2") == Procedural(("countdown",), only_levels=(2,))
    assert source("countdown:2,countdown:1") == Procedural(("countdown",), only_levels=(1, 2))


def test_parts_of_different_kinds_or_levels_stand_side_by_side(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"prompt": "a", "answer": "b", "split": "train"}')
    found = source(f"countdown:2,digits,{path},reasoning_gym:leg_counting:1", seed=1)
    assert found == Several(
        (
            Procedural(("countdown",), 1, (2,)),
            Procedural(("digits",), 1),
            Dataset(str(path)),
            ReasoningGym(("leg_counting",), 1, (1,)),
        )
    )
    assert found.families == ("countdown", "digits", "own", "reasoning_gym:leg_counting")
    assert found.levels("countdown") == (2,)
    assert found.num_tasks("own", 1, "train") == 1
    assert found.task("own", 1, 0).question == "a"
    assert from_json(to_json(found)) == found
    with pytest.raises(BadInput, match="did you mean digits"):
        found.task("digit", 1, 0)


def test_a_file_may_have_a_comma_in_its_name(tmp_path):
    path = tmp_path / "a,b.jsonl"
    path.write_text("")
    assert source(str(path)) == Dataset(str(path))


def test_the_same_family_twice_is_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    with pytest.raises(BadInput, match="same family"):
        source(f"{tmp_path}/a/x.jsonl,{tmp_path}/b/x.jsonl")


@pytest.mark.parametrize(
    ("text", "cure"),
    [("cuontdown", "did you mean countdown"), ("", "one of"), ("countdown,", "one of"), ("a.csv", "jsonl")],
)
def test_an_unknown_source_names_what_there_is(text, cure):
    with pytest.raises(BadInput, match=cure):
        source(text)


def test_a_level_that_is_no_number_is_refused():
    with pytest.raises(BadInput, match="whole number"):
        source("countdown:two")
