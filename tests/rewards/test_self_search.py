from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.records import Episode, Origin, Private, Reference, Task, Text, Trace, Turn, said
from evolvent.records import Message as Words
from evolvent.rewards.self_search import SelfSearched, SelfVoted, is_match, matches, normalise, score_form, token_f1
from evolvent.rollouts.self_search import BRACKETS, KINDS, PUBLISHED, last_answer, named

ROUND = "<think>t</think><search>q</search><information>i</information>"
END = "<answer>x</answer>"
THINK = "<think>t</think>"


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (THINK + END, 0.5),
        (ROUND + THINK + END, 1.0),
        (THINK + THINK + END, 0.5),
        (ROUND + ROUND + THINK + END, 1.0),
        (ROUND + END, 0.25),  # one thought of two, and one of the two that one search asks for
        (THINK * 8 + END, 1 / 8),
        (THINK * 9 + END, 0.0),
        (ROUND * 7 + THINK + END, 1.0),
        (ROUND * 8 + THINK + END, 0.0),
        (f"\n{ROUND}\n\n{THINK}\n{END}\n", 1.0),
        (ROUND.replace(">i<", ">\ni\n\ni\n<") + THINK + END, 1.0),
    ],
)
def test_the_form_has_the_values_of_the_sheet(reply, wanted):
    assert score_form(reply, PUBLISHED)[0] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "begin"),
        ("a", "outside"),
        (END, "begin"),
        (THINK, "end with an answer"),
        (END + THINK, "begin"),
        (THINK + "so" + END, "outside"),
        ("so" + THINK + END, "outside"),
        (THINK + END + "so", "outside"),
        (THINK + "<search>q</search>" + THINK + END, "without information"),
        (THINK + "<information>i</information>" + THINK + END, "without information"),
        (THINK + "<search>q</search>" + THINK + "<information>i</information>" + END, "without information"),
        (ROUND + "<information>i</information>" + END, "without information"),
        (THINK + "<answer> \n</answer>", "empty"),
        (ROUND.replace(">q<", ">q\nr<") + END, "several lines"),
        (ROUND.replace(">q<", ">your query<") + END, "placeholder"),
        (ROUND.replace(">i<", ">...<") + END, "placeholder"),
        (THINK + "<think>a <search> b</think>" + END, "inside"),
        (THINK + "<note>n</note>" + END, "outside"),
        ("<think><note>n</note></think>" + END, "inside"),
        (THINK + "<answer>x", "outside"),
    ],
)
def test_whoever_breaks_a_rule_earns_nothing_for_form_and_is_told_which(reply, why):
    form, told = score_form(reply, PUBLISHED)
    assert form == 0.0 and why in told


def test_the_names_of_tags_are_data():
    bracketed = "{t}[q]<i>{t}(a)"
    assert score_form(bracketed, BRACKETS)[0] == 1.0
    assert score_form(bracketed, PUBLISHED)[0] == 0.0
    german = named("denken", "suche", "fund", "antwort")
    words = dict(zip(KINDS, ("denken", "suche", "fund", "antwort"), strict=True))
    reply = ROUND + THINK + END
    for name, word in words.items():
        reply = reply.replace(f"<{name}>", f"<{word}>").replace(f"</{name}>", f"</{word}>")
    assert score_form(reply, german)[0] == 1.0


@given(st.lists(st.sampled_from([ROUND, THINK, END, "x", "<think>", "</search>"]), max_size=8))
def test_the_form_is_a_share_and_chatter_never_helps(parts):
    reply = "".join(parts)
    assert 0.0 <= score_form(reply, PUBLISHED)[0] <= 1.0
    assert score_form(reply + "x", PUBLISHED)[0] == 0.0


@pytest.mark.parametrize(
    ("answer", "golds", "is_right"),
    [
        ("The  Eiffel-Tower!", ("eiffeltower",), True),
        ("the Eiffel Tower", ("Eiffel Tower",), True),
        ("An apple a day", ("apple day",), True),
        ("theatre", ("atre",), False),
        ("U.S.", ("US",), True),
        ("JFK", ("John F. Kennedy", "jfk"), True),
        ("Kennedy", ("John F. Kennedy",), False),
        ("", ("x",), False),
        ("the", ("a",), False),  # nothing is left of either
        ("42", ("42.",), True),
        ("Ünal", ("ünal",), True),
    ],
)
def test_answers_match_once_normalised(answer, golds, is_right):
    assert is_match(answer, golds) is is_right


@given(st.text())
def test_what_is_normalised_stays_as_it_is(text):
    assert normalise(normalise(text)) == normalise(text) or not text.isascii()


def test_token_f1_is_worked_by_hand():
    assert token_f1("big red dog", "red dog") == pytest.approx(0.8)  # precision 2/3, recall 1
    assert token_f1("red red", "red") == pytest.approx(2 / 3)
    assert token_f1("", "red") == 0.0


def task(answer="tiru", **data):
    asked, judge = (said("user", "q"),), Reference("evolvent.rewards:exact")
    return Task("t", "f", 1, asked, Private(answer, data), judge, Origin("x"))


def episode(reply, *, of=None, real="", **info):
    turns = [Turn("0", None, "agent", 0, said("user", "<answer>asked</answer>"))]
    words = [("assistant", reply)] if not real else [("assistant", reply), ("tool", real), ("assistant", THINK + END)]
    turns += [Turn(str(i), None, "agent", i, Words(role, (Text(text),))) for i, (role, text) in enumerate(words, 1)]
    traces = (Trace("t", 0, "agent", "agent", tuple(turns)),)
    return Episode("t/0", of or task(), 0, traces, last_answer(reply, PUBLISHED), info)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (ROUND + THINK + "<answer>Tiru.</answer>", 1.0),
        ("chatter <answer>tiru</answer> chatter", 0.9),
        (ROUND + THINK + END, 0.1),
        (THINK + END, 0.05),
        ("tiru", 0.0),
        ("<answer>tiru</answer><answer>bapo</answer>", 0.0),  # the last one counts
        ("<answer>bapo</answer> no, <answer>tiru</answer>", 0.9),
    ],
)
def test_the_reward_is_nine_parts_answer_and_one_part_form(reply, value):
    (score,) = SelfSearched()([episode(reply)])
    assert score.value == pytest.approx(value)


def test_other_names_of_an_answer_count():
    (score,) = SelfSearched()([episode("<answer>the Boss</answer>", of=task(aliases=["boss"]))])
    assert score.components["em"] == 1.0
    assert matches(task(aliases=["boss"]), "the boss").value == 1.0 and matches(task(), "boss").value == 0.0


def test_information_that_the_policy_wrote_is_held_against_the_base():
    known = {"q": True, "r": False}
    judge = SelfSearched(known=lambda task, query, text: known.get(query))
    replies = [ROUND + ROUND.replace("q", "r") + END, ROUND + END, ROUND.replace("q", "z") + END, THINK + END]
    precisions = [score.components.get("precision") for score in judge([episode(reply) for reply in replies])]
    assert precisions == [0.5, 1.0, None, None]


def test_words_of_an_engine_are_part_of_the_form_and_are_counted():
    reply, real = "<think>t</think><search>q</search>", "<information>i</information>"
    (score,) = SelfSearched()([episode(reply, real=real, num_real=1, num_engine_calls=1)])
    assert score.components["format"] == 1.0
    assert (score.components["num_real"], score.components["num_searches"]) == (1.0, 1.0)


def test_a_vote_stands_in_for_the_gold_answers():
    """Two of three say x, so x is worth 0.9; the third has the gold answer, and only its form counts."""
    replies = [ROUND + THINK + END, "<answer>X.</answer>", THINK + "<answer>tiru</answer>"]
    said_so = [replace(episode(reply), answer=last_answer(reply, PUBLISHED)) for reply in replies]
    assert [score.value for score in SelfVoted()(said_so)] == pytest.approx([1.0, 0.9, 0.05])


def test_a_vote_needs_no_gold_answers():
    unlabelled = replace(task(), private=None)
    replies = [replace(episode(THINK + END, of=unlabelled), answer="x") for _ in range(2)]
    assert [score.value for score in SelfVoted()(replies)] == pytest.approx([0.95, 0.95])
