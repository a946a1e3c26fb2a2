import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.credit.batch import rows_of
from evolvent.envs import Toolbox
from evolvent.envs.corpus import Corpus, Document
from evolvent.errors import BadInput
from evolvent.records import Outcome, said
from evolvent.rewards.self_search import SelfSearched, reply_of
from evolvent.rollouts.play import play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.self_search import (
    BRACKETS,
    PUBLISHED,
    EngineSearch,
    First,
    Indexed,
    Rising,
    SelfSearch,
    Tag,
    Tags,
    last_answer,
    read_parts,
)

WIDE = Budgets(turn_tokens=250, context_tokens=500, episode_tokens=500)
REPLY = "{a}[one]<x:1>{b}[two]<x:2>{c}(2)"


def reader_of(reply):
    """Says what comes next of a reply, from where the words in it that an engine wrote are put back."""

    def speak(puppet, prompt, state):
        rest = state["rest"]
        for stop in prompt.stops:
            if stop in rest:
                said_now, state["rest"] = rest[: rest.index(stop) + 1], rest[rest.index(stop) + 1 :]
                return puppet.renderer.plain(said_now)
        return puppet.renderer.reply(said("assistant", rest), ())

    return speak, {"rest": reply}


class Engine:
    """Finds the length of what is asked, and counts."""

    def __init__(self):
        self.asked = []

    def __call__(self, task, query):
        self.asked.append(query)
        return f"{query}:{len(query)}"


def skip_own(state):
    """A policy that is given information does not write it."""
    if state["rest"].startswith("<"):
        state["rest"] = state["rest"].partition(">")[2]


def play_with(puppet, stage, attempts, route, reply=REPLY, **more):
    speak, state = reader_of(reply)
    engine = Engine()

    def answer(task, query):
        skip_own(state)
        return engine(task, query)

    puppet.speak = lambda prompt: speak(puppet, prompt, state)
    workflow = EngineSearch(answer, BRACKETS, route, glue="", **more)
    (episode,) = play(attempts(1), stage(puppet, workflow=workflow, world=Toolbox(()), budgets=WIDE))
    return episode, engine


def test_in_one_pass_the_policy_is_sampled_once_and_nobody_else_is_asked(puppet, stage, attempts):
    puppet.speak = lambda prompt: puppet.renderer.reply(said("assistant", REPLY), ())
    (episode,) = play(attempts(1), stage(puppet, workflow=SelfSearch(BRACKETS), world=Toolbox(()), budgets=WIDE))
    assert len(puppet.made) == 1 and puppet.asked[0][0].stops == ()
    assert (episode.answer, episode.info["num_engine_calls"]) == ("2", 0)


@pytest.mark.parametrize(
    ("num", "asked", "reply"),
    [
        (0, [], "{a}[one]<x:1>{b}[two]<x:2>{c}(2)"),
        (1, ["one"], "{a}[one]<one:3>{b}[two]<x:2>{c}(2)"),
        (3, ["one", "two"], "{a}[one]<one:3>{b}[two]<two:3>{c}(2)"),
        (None, ["one", "two"], "{a}[one]<one:3>{b}[two]<two:3>{c}(2)"),
    ],
)
def test_the_first_queries_go_to_the_engine_and_the_others_to_the_policy(num, asked, reply, puppet, stage, attempts):
    episode, engine = play_with(puppet, stage, attempts, First(num))
    assert engine.asked == asked and episode.info["num_engine_calls"] == len(asked)
    assert reply_of(episode) == reply and episode.answer == "2"
    (score,) = SelfSearched(BRACKETS)([episode])
    assert score.components["format"] == 1.0 and score.components["num_real"] == len(asked)


def test_what_the_engine_wrote_is_not_the_policys_in_the_record(puppet, stage, attempts):
    episode, _ = play_with(puppet, stage, attempts, First(1))
    (trace,) = episode.traces
    (row,) = rows_of(trace, ("t", "agent"), 1.0)
    own = puppet.renderer.text([t for t, m in zip(row.tokens, row.mask, strict=True) if m])
    assert own.removesuffix("<|end|>") == "{a}[one]{b}[two]<x:2>{c}(2)"


def test_behind_the_last_query_that_is_looked_at_the_policy_goes_on_alone(puppet, stage, attempts):
    episode, engine = play_with(puppet, stage, attempts, First(), max_queries=1)
    assert engine.asked == ["one"] and reply_of(episode) == "{a}[one]<one:3>{b}[two]<x:2>{c}(2)"


def test_a_reply_without_queries_is_left_alone(puppet, stage, attempts):
    episode, engine = play_with(puppet, stage, attempts, First(), reply="{a}(7)")
    assert (episode.answer, engine.asked, episode.outcome) == ("7", [], Outcome.OK)


def test_an_index_gives_the_best_lines_one_below_the_other():
    lines = ("bapo's boss:tiru", "tiru's tutor:gelo", "bapo's tutor:fimo")
    index = Indexed(Corpus(tuple(Document(str(i), line) for i, line in enumerate(lines))), k=2)
    assert index(None, "bapo's boss") == "bapo's boss:tiru\nbapo's tutor:fimo"
    assert index(None, "nobody") == "nothing found"


def test_a_query_that_never_ends_ends_the_episode(puppet, stage, attempts):
    episode, engine = play_with(puppet, stage, attempts, First(), reply="{a}[one")
    assert (episode.answer, engine.asked, episode.outcome) == ("", [], Outcome.AGENT_FAILED)


def test_an_end_that_a_token_has_begun_is_not_written_twice():
    workflow = EngineSearch(lambda task, query: "x", PUBLISHED)
    assert workflow._found(None, "q", "") == "\n<information>x</information>"
    assert workflow._found(None, "q", "\n") == "<information>x</information>"
    assert workflow._found(None, "q", "<") == "information>x</information>"


def test_a_later_query_is_real_where_the_policy_grew_less_sure():
    route = Rising()
    assert [route(bits) for bits in ([1.0], [1.0, 0.5], [0.5, 1.0], [0.5, 1.0, 1.0])] == [True, False, True, False]


def test_the_doubt_of_a_query_is_the_mean_of_its_tokens_alone(puppet, stage, attempts):
    episode, _ = play_with(puppet, stage, attempts, First(0))
    wanted = []
    for query in ("one]", "two]"):
        tokens = puppet.renderer.plain(query)
        wanted.append(sum(0.1 + 0.01 * math.sin(t) for t in tokens) / len(tokens) / math.log(2))
    assert episode.info["query_bits"] == pytest.approx(wanted)


@given(st.text(alphabet="{}[]<>()ab", max_size=24))
def test_parts_and_what_is_left_make_the_reply(reply):
    parts, rest = read_parts(reply, BRACKETS)
    made = "".join(p.before + BRACKETS.by_kind[p.kind].around(p.text) for p in parts) + rest
    assert made == reply


@pytest.mark.parametrize(
    ("reply", "answer"),
    [("(a)(b)", "b"), ("(a) b", "a"), ("a)", ""), ("(a", ""), ("", ""), (")(", ""), ("( a )", "a")],
)
def test_the_last_answer_is_taken_whatever_surrounds_it(reply, answer):
    assert last_answer(reply, BRACKETS) == answer


def test_tags_that_cannot_be_told_apart_are_refused():
    same = Tag("<", ">")
    with pytest.raises(BadInput, match="told apart"):
        Tags(same, same, Tag("a", "b"), Tag("c", "d"))
