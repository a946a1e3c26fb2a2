import asyncio
import json
from collections import Counter
from dataclasses import replace

import pytest

from evolvent.envs.manufacture.parametric import STRUCTURES, manufacture
from evolvent.errors import BadInput
from evolvent.seeds import stream
from evolvent.synthesis.difficulty import LEVELS, Difficulty
from evolvent.synthesis.tool_analysis import analyse
from evolvent.synthesis.tool_graph import Edge, Node, ToolGraph, code_form, graph_of, names_match, paper_form, walk
from synthesis.made_worlds import Scribe, library, mute_library


def edges(*kinds, pairs=()):
    pairs = pairs or [0] * len(kinds)
    return [Edge("i", f"j{n}", k, (("a", "b"),) * num) for n, (k, num) in enumerate(zip(kinds, pairs, strict=True))]


def test_in_the_paper_s_form_weights_three_two_one_are_a_half_a_third_and_a_sixth():
    found = paper_form(edges("strong", "weak", "independent", pairs=[0, 2, 0]))
    assert found == pytest.approx({"j0": 1 / 2, "j1": 1 / 3, "j2": 1 / 6})


def test_in_the_code_s_form_matches_add_to_the_weight_and_shut_out_what_has_none():
    found = code_form(edges("strong", "weak", "strong", pairs=[1, 2, 0]))
    assert found == pytest.approx({"j0": 1 / 2, "j1": 1 / 2}), "3 + 1 against 2 + 2, and nothing for the third"
    assert code_form(edges("strong", "weak", "independent")) == paper_form(edges("strong", "weak", "independent"))


def test_walks_choose_as_their_form_says():
    kinds = edges("strong", "weak", "independent")
    graph = ToolGraph(
        (Node("i", "query", (), (("a", "a"),)), *(Node(f"j{n}", "mutation") for n in range(3))), tuple(kinds)
    )
    seconds = Counter(walk(graph, stream(s, "w"), form=paper_form)[1] for s in range(6000))
    for name, share in (("j0", 1 / 2), ("j1", 1 / 3), ("j2", 1 / 6)):
        assert abs(seconds[name] / 6000 - share) < 0.025, seconds


def test_walks_are_three_to_eight_tools_long_each_length_as_often():
    graph = graph_of(library())
    lengths = Counter(len(walk(graph, stream(s, "w"))) for s in range(3000))
    assert set(lengths) == set(range(3, 9))
    assert all(abs(num / 3000 - 1 / 6) < 0.04 for num in lengths.values()), lengths


def test_walks_start_where_data_is_told_and_nothing_is_strongly_needed():
    graph = graph_of(library())
    assert graph.starts == ("qb", "fl", "nb", "cl"), "qa, fb and ql need keys that one tool alone tells"
    assert {walk(graph, stream(s, "w"))[0] for s in range(200)} == set(graph.starts)


def test_a_key_that_one_tool_alone_tells_is_strongly_needed_and_others_weakly():
    kinds = {(e.before, e.after): e.kind for e in graph_of(library()).edges}
    assert kinds["qb", "qa"] == "strong", "only a book tells its author"
    assert kinds["fb", "qb"] == kinds["ql", "qb"] == "weak", "two tools tell keys of books"
    assert kinds["qb", "fb"] == "strong" and kinds["fb", "qb"] == "weak"
    assert ("qa", "qb") not in kinds, "against a strong edge there is no way back"
    assert kinds["nb", "qa"] == kinds["qa", "nb"] == "independent"


def test_links_name_the_fields_that_match():
    links = {(e.before, e.after): e.pairs for e in graph_of(library()).edges}
    assert links["qb", "qa"] == (("author.key", "author.key"),)
    assert links["qb", "ub"] == (("book.state", "book.state"),)
    assert links["qa", "nb"] == ()


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("level", [1, 2])
def test_every_parametric_world_can_be_walked(structure, level):
    graph = graph_of(manufacture(7, structure, level))
    assert graph.starts
    for form in (paper_form, code_form):
        for tool in [n.tool for n in graph.nodes]:
            chances = form(graph.after(tool))
            assert not chances or sum(chances.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("output", "needed", "is_match"),
    [
        ("Book_ID", "bookId", True),
        ("id", "book_id", True),
        ("books_id", "book_key", True),
        ("author_id", "book_id", False),
        ("city", "home_city", True),
        ("id", "paid", False),
        ("ci", "city", False),
        ("", "", False),
        ("price", "state", False),
    ],
)
def test_names_match_when_equal_ids_of_one_stem_or_part_of_another(output, needed, is_match):
    assert names_match(output, needed) is is_match
    assert names_match(needed, output) is is_match


SAID = [
    {"tool": "get_book", "operation": "query", "inputs": ["id"], "outputs": ["by", "pages", "state"],
     "dependencies": [{"tool": "books_by", "type": "strong", "field": "id"}, {"tool": "nope", "type": "weak"}]},
    {"tool": "books_by", "operation": "query", "inputs": ["by"], "outputs": ["id"],
     "dependencies": [{"tool": "get_author", "type": "weak", "field": "by"}, 7]},
    {"tool": "lend", "operation": "both", "inputs": ["made_up"], "outputs": ["id"], "dependencies": "none"},
    {"tool": "unheard_of", "operation": "query"},
    {"tool": "give_back", "operation": "dance"},
]  # fmt: skip


def test_a_policy_s_analysis_becomes_a_graph_and_skipped_tools_keep_their_schema():
    scribe = Scribe(lambda text: "Here:\n```json\n" + json.dumps(SAID) + "\n```")
    graph = asyncio.run(analyse(mute_library(), scribe))
    assert graph.skipped == ("get_author", "get_loan", "loans_of", "count_books", "set_state", "give_back")
    assert graph.node("set_state").inputs == (("id", "id"), ("state", "state")), "a skipped tool lost its inputs"
    assert graph.node("lend").inputs == (("what", "what"), ("days", "days")), "inputs are those of the schema"
    kinds = {(e.before, e.after): e.kind for e in graph.edges}
    assert kinds["books_by", "get_book"] == "strong"
    assert kinds["get_author", "books_by"] == kinds["books_by", "get_author"] == "weak"
    assert graph.starts == ("books_by", "lend")


def test_tools_are_analysed_twelve_at_a_time_with_long_words_cut():
    one = mute_library()
    many = tuple(replace(one.tools[0], name=f"t{i}", description="x" * 900) for i in range(25))
    scribe = Scribe(lambda text: "nonsense")
    graph = asyncio.run(analyse(replace(one, tools=many), scribe))
    assert [text.count('"name": ') for text, _ in scribe.asked] == [12, 12, 1]
    assert all("x" * 400 in text and "x" * 401 not in text for text, _ in scribe.asked)
    assert {(how.temperature, how.max_tokens) for _, how in scribe.asked} == {(0.2, 6000)}
    assert len(graph.skipped) == 25 and {e.kind for e in graph.edges} == {"independent"}


def test_tools_that_say_nothing_are_refused_with_the_cure():
    with pytest.raises(BadInput, match="analyse"):
        graph_of(mute_library())


def test_difficulty_turns_walks_and_weights():
    assert LEVELS[1].weights == {"strong": 3, "weak": 2, "independent": 1}
    assert LEVELS[3].shortest > LEVELS[2].shortest > LEVELS[1].shortest
    with pytest.raises(BadInput, match="walk"):
        Difficulty(shortest=9)
    with pytest.raises(BadInput, match="weight"):
        Difficulty(weak=-1)
