import random
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent import BadInput
from evolvent.envs.databases import Column, Database, SqlTool, Statement, Table
from evolvent.envs.manufacture.parametric import STRUCTURES, manufacture
from evolvent.policies.scripted import Fixed
from evolvent.synthesis.duplicates import Seen, shingles, world_words
from evolvent.synthesis.taxonomy import arrange, text_of
from evolvent.synthesis.taxonomy_picture import draw_taxonomy

THEMES = {
    "hospital": "patient doctor ward diagnosis nurse surgery",
    "airline": "flight passenger airport pilot gate luggage",
    "library": "book reader shelf loan author edition",
}


def world(name, words):
    """A small world that speaks of some words."""
    tables = tuple(Table(word, (Column("id"), Column(f"{word}_name"))) for word in words[:3])
    tools = tuple(
        SqlTool(f"t{i}", f"find {w} of {words[0]}", (), (Statement("SELECT 1"),)) for i, w in enumerate(words)
    )
    return Database(name, tables, tools)


def worlds(num=6, seed=0):
    rng = random.Random(seed)
    return [world(f"{theme}-{i}", rng.sample(words.split(), 5)) for theme, words in THEMES.items() for i in range(num)]


def test_worlds_that_speak_of_the_same_are_one_class():
    found = arrange(worlds(), num_centres=6, num_classes=3)
    groups = [{w.partition("-")[0] for c in one.centres for w in c.worlds} for one in found.classes]
    assert sorted(map(sorted, groups)) == [["airline"], ["hospital"], ["library"]]
    for one in found.classes:
        theme = one.centres[0].worlds[0].partition("-")[0]
        assert set(one.name.split()) <= set(THEMES[theme].split()), "a class is named by what it is about"


def test_every_world_is_in_one_centre_and_every_centre_in_one_class():
    made = worlds()
    found = arrange(made, num_centres=7, num_classes=3)
    placed = [w for one in found.classes for c in one.centres for w in c.worlds]
    assert sorted(placed) == sorted(w.name for w in made)
    assert sum(len(one.centres) for one in found.classes) == 7
    assert len(found.classes) == 3
    assert set(found.places) == {w.name for w in made}
    assert len({c.name for one in found.classes for c in one.centres}) == 7, "no two centres are called alike"


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_worlds_does_not_matter(rng):
    made = worlds()
    assert arrange(rng.sample(made, len(made)), 6, 3) == arrange(made, 6, 3)


def test_names_of_tools_and_tables_that_mean_nothing_count_for_nothing():
    made = manufacture(3, "two_hop", 2)
    assert not set(text_of(made).split()) & {t.name for t in (*made.tables, *made.tools)}
    assert set(dict(made.words).values()) <= set(text_of(made).split())


def test_small_and_odd_corpora_have_a_taxonomy_too():
    one = world("only", ["book", "reader", "loan"])
    assert len(arrange([one]).classes) == 1
    nothing = Database("empty", (Table("t1", (Column("c1"),)),), ())
    assert len(arrange([nothing, replace(nothing, name="other")]).places) == 2
    with pytest.raises(BadInput, match="needs worlds"):
        arrange([])
    with pytest.raises(BadInput, match="own name"):
        arrange([one, one])


def test_a_corpus_of_a_hundred_has_the_sizes_that_follow():
    found = arrange([manufacture(i, STRUCTURES[i % 8], 1) for i in range(60)])
    assert sum(len(one.centres) for one in found.classes) == 15
    assert len(found.classes) == 6
    assert found.classes[0].num_worlds == max(one.num_worlds for one in found.classes)


def test_a_policy_names_classes_and_centres():
    namer = Fixed('Here: ["Care", "Travel"]')
    found = arrange(worlds(2), num_centres=2, num_classes=2, namer=namer)
    assert [one.name for one in found.classes] == ["Care", "Travel"]
    with pytest.raises(BadInput, match="no names"):
        arrange(worlds(2), num_centres=3, num_classes=2, namer=namer)


def test_the_picture_is_an_svg_that_names_everything():
    found = arrange([*worlds(), world("odd-1", ["goat", "cow", "hen"])])
    text = draw_taxonomy(found, "Worlds <& more>")
    root = ElementTree.fromstring(text)
    said = "".join(root.itertext())
    for one in found.classes:
        assert one.name in said
        for centre in one.centres:
            assert all(w in said for w in centre.worlds)
    assert "Worlds <& more>" in said
    assert f"{len(found.places)} worlds in" in said
    assert text == draw_taxonomy(found, "Worlds <& more>")


# ------------------------------------------------------------ duplicates


def test_the_same_text_and_nearly_the_same_text_are_found():
    words = " ".join(f"word{i}" for i in range(100))
    seen = Seen(0.8)
    assert seen.add("a", words) == ""
    assert seen.add("b", words) == "exact duplicate of a"
    assert seen.add("c", words + " more") == "near duplicate of a"
    assert seen.add("d", words.replace("word5 ", "other ")) == "near duplicate of a"
    assert seen.add("e", " ".join(f"word{i}" for i in range(50, 150))) == ""
    assert seen.add("f", "") == ""
    assert seen.add("g", "short") == ""


def test_overlap_is_counted_exactly():
    """One two three four: 2 runs of three words; with five: 3 runs, 2 of them shared, 2/3."""
    assert Seen(2 / 3).add("x", "one two three four") == ""
    for threshold, is_near in ((0.66, True), (0.67, False)):
        seen = Seen(threshold)
        seen.add("x", "one two three four")
        assert bool(seen.add("y", "one two three four five")) == is_near
    assert len(shingles("one two three four")) == 2


def renew(name):
    return name and f"x{name}"


def test_a_world_under_other_names_is_a_duplicate_and_with_other_rows_it_is_none():
    made = manufacture(5, "lookup", 1)
    tables = [
        replace(t, name=f"x{t.name}", columns=tuple(replace(c, references=renew(c.references)) for c in t.columns))
        for t in made.tables
    ]
    words = tuple(("x" + name, word) for name, word in made.words)
    renamed = replace(made, name="renamed", tables=tuple(tables), words=words)
    seen = Seen(0.8)
    assert seen.add(made.name, world_words(made)) == ""
    assert seen.add("renamed", world_words(renamed)) == f"exact duplicate of {made.name}"
    assert seen.add("other", world_words(manufacture(6, "lookup", 1))) == ""
