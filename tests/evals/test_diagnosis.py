import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.evals.diagnosis import by_statistics, chance_below, find_weak, rank, shuffle_traces, world_name
from evolvent.evals.mistakes import LACKS, MISTAKES, find_mistakes
from evolvent.records import (
    Episode,
    Message,
    Origin,
    Outcome,
    Private,
    Reference,
    Score,
    Task,
    ToolCall,
    ToolResult,
    Trace,
    Turn,
    said,
)

NEEDED = ToolCall("find_pilot", {"badge": "K7"})
CLASSES = ("lookup", "create", "update", "aggregate", "branch", "join")


def task(family, world, number=0):
    data = {"world": {"path": "made.up:world", "arguments": {"seed": world}}}
    shown = (Message("assistant", (NEEDED,)), said("assistant", "42"))
    private = Private("42", data, shown)
    name = f"{family}-{world}-{number}"
    return Task(name, family, 1, (said("user", name),), private, Reference("a:b"), Origin("made up"), "arena")


def episode(family, world, number=0, *, right=True, call=NEEDED, result=None, answer="42", **more):
    about = task(family, world, number)
    score = more.pop("score", Score(float(right), {"answer": float(right), "state": 1.0}))
    turns = [Turn("0", None, "agent", 0, about.prompt[0])]
    if call is not None:
        turns += [
            Turn("1", "0", "agent", 1, Message("assistant", (call,))),
            Turn("2", "1", "agent", 1, Message("tool", (result or ToolResult(call.name, '{"age": 42}'),))),
        ]
    turns += [Turn("3", "2", "agent", 2, said("assistant", answer))]
    trace = Trace(about.task_id, 0, "agent", "agent", tuple(turns), score=score, **more)
    return Episode(f"{about.task_id}/0", about, 0, (trace,), answer)


def arena(rates, num_worlds=5, num_tasks=8, seed=0):
    """Episodes in which class i succeeds at its rate, each world a little better or worse than its class."""
    rng = random.Random(seed)
    found = []
    for family, rate in rates.items():
        for world in range(num_worlds):
            own = min(1.0, max(0.0, rate + rng.uniform(-0.1, 0.1)))
            found += [episode(family, world, n, right=rng.random() < own) for n in range(num_tasks)]
    return found


def kinds(**changes):
    return find_mistakes(episode("lookup", 0, right=False, **changes))


# ---------------------------------------------------------------- kinds of mistakes


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {"wrong answer"}),
        ({"call": ToolCall("find_pilot", {"badge": "Q1"})}, {"wrong argument", "wrong answer"}),
        ({"call": ToolCall("find_plane", {"badge": "K7"})}, {"wrong tool", "wrong answer"}),
        ({"call": None}, {"wrong tool", "wrong answer"}),
        ({"call": ToolCall("", None, "find_pilot {")}, {"unreadable call", "wrong tool", "wrong answer"}),
        ({"answer": ""}, {"no answer"}),
        ({"answer": "", "truncation": "turn"}, {"truncated"}),
        ({"score": Score(0.0, {"answer": 1.0, "state": 0.0})}, {"bad state update"}),
        ({"score": Score(0.0)}, {"wrong answer"}),
    ],
)
def test_what_went_wrong_has_a_name(changes, wanted):
    assert set(kinds(**changes)) == wanted


def test_a_refused_call_is_a_wrong_argument_and_a_call_of_nothing_an_unknown_tool():
    refused = ToolResult("find_pilot", "error: find_pilot needs 'badge'", is_error=True)
    assert "wrong argument" in kinds(call=ToolCall("find_pilot", {}), result=refused)
    unknown = ToolResult("find_pylot", "error: there is no tool 'find_pylot'; did you mean find_pilot?", is_error=True)
    found = kinds(call=ToolCall("find_pylot", {"badge": "K7"}), result=unknown)
    assert "unknown tool" in found
    assert "wrong argument" not in found


def test_the_words_for_an_unknown_tool_are_those_of_the_worlds():
    from evolvent.envs.tools import pick
    from evolvent.errors import ToolError
    from evolvent.evals.mistakes import UNKNOWN

    with pytest.raises(ToolError, match=UNKNOWN):
        pick((), "find_pylot")


@given(st.booleans(), st.sampled_from(["42", "41", ""]), st.sampled_from(["", "turn"]), st.booleans())
def test_a_failed_episode_has_at_least_one_kind_of_mistake(calls, answer, truncation, state):
    score = Score(0.0, {"state": float(state)})
    found = kinds(call=NEEDED if calls else None, answer=answer, truncation=truncation, score=score)
    assert found
    assert list(found) == [kind for kind in MISTAKES if kind in found]


# ---------------------------------------------------------------- ranking


def test_a_class_that_fails_far_more_than_the_others_is_ranked_first_and_alone():
    found = by_statistics(arena({**dict.fromkeys(CLASSES, 0.8), "update": 0.1}))
    assert found.weakest == ("update",)
    assert [one.family for one in found.weak] == ["update"]
    assert found.classes[0].family == "update"


def test_with_traces_shuffled_between_classes_the_same_class_is_not_ranked_first():
    episodes = arena({**dict.fromkeys(CLASSES, 0.8), "update": 0.1})
    ranked = [by_statistics(shuffle_traces(episodes, random.Random(seed))).weakest for seed in range(20)]
    assert sum("update" in one for one in ranked) <= 2, "the ranking does not look at who did what"


def test_a_shuffle_keeps_every_task_and_every_trace():
    episodes = arena({"lookup": 0.5, "update": 0.5}, num_worlds=2, num_tasks=2)
    mixed = shuffle_traces(episodes, random.Random(1))
    assert [e.task for e in mixed] == [e.task for e in episodes]
    assert sorted(e.episode_id for e in mixed) == sorted(e.episode_id for e in episodes)
    assert [e.traces for e in mixed] != [e.traces for e in episodes]


def test_noise_is_not_ranked():
    named = [bool(by_statistics(arena(dict.fromkeys(CLASSES, 0.5), seed=seed)).weak) for seed in range(40)]
    assert sum(named) <= 6, "classes that are all alike are called weak more often than one time in twenty allows"


def test_two_classes_that_fail_alike_share_the_first_rank():
    found = by_statistics(arena({**dict.fromkeys(CLASSES, 0.9), "update": 0.1, "join": 0.1}, num_worlds=8))
    assert set(found.weakest) == {"update", "join"}
    assert [one.rank for one in found.weak] == [1, 1]


def test_several_weak_classes_do_not_hide_each_other():
    rates = {"lookup": 0.5, "branch": 0.5, "update": 0.05, "join": 0.05, "create": 0.05, "aggregate": 0.05}
    found = by_statistics(arena(rates, num_worlds=12))
    assert {one.family for one in found.weak} == {"update", "join", "create", "aggregate"}


def test_a_class_in_the_upper_half_is_not_weak_however_sure_the_difference():
    worths = {f"c{i}": [i / 10] * 20 for i in range(1, 10, 2)}
    assert find_weak(worths) == {"c1", "c3"}


def test_ranks_worked_by_hand():
    low, middle, high = [0.0] * 6, [0.5] * 6, [1.0] * 6
    # the second cannot be told from the first, the third can, and the fourth not from the third
    assert rank([low, low, high, high]) == [1, 1, 3, 3]
    assert rank([low, middle, high]) == [1, 2, 3]


def test_the_chance_of_the_lowest_of_all_orders_is_one_over_their_number():
    # three zeros among six: of C(6, 3) = 20 ways to choose three, one is as low
    assert chance_below([0, 0, 0], [1, 1, 1]) == pytest.approx(1 / 20, abs=0.01)
    assert chance_below([1, 1, 1], [1, 1, 1]) == 1.0


def test_one_class_alone_is_not_weak():
    assert find_weak({"lookup": [0.0, 0.0, 0.0]}) == set()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(60)))
def test_the_order_of_episodes_changes_nothing_but_the_examples(order):
    episodes = arena({"lookup": 0.9, "update": 0.2, "join": 0.9}, num_worlds=5, num_tasks=4)
    whole, mixed = by_statistics(episodes), by_statistics([episodes[i] for i in order])
    assert [o.family for o in mixed.weak] == [o.family for o in whole.weak]
    assert {(o.family, o.num_failed) for o in mixed.classes} == {(o.family, o.num_failed) for o in whole.classes}


# ---------------------------------------------------------------- what is counted


def test_what_something_else_broke_is_left_out_and_counted():
    broken = [
        episode("update", w, n, right=False, score=None, outcome=Outcome.INFRASTRUCTURE_FAILED)
        for w in range(5)
        for n in range(8)
    ]
    found = by_statistics(arena({"lookup": 0.9, "join": 0.9}) + broken)
    standing = next(one for one in found.classes if one.family == "update")
    assert (standing.num_episodes, standing.num_left_out) == (0, 40)
    assert found.weak == (), "a broken world counts as a failure of the agent"
    assert found.classes[-1].family == "update", "a class of which nothing is known stands last"


def test_the_guideline_names_the_prevailing_lack():
    good = arena(dict.fromkeys(CLASSES[:5], 1.0))
    forgot = Score(0.0, {"answer": 1.0, "state": 0.0})
    bad = [episode("join", w, n, right=False, score=forgot) for w in range(5) for n in range(8)]
    [weak] = by_statistics(good + bad).weak
    [guideline] = weak.guidelines
    assert guideline.lack == "bad state update"
    assert guideline.lack in LACKS
    assert "40 of 40" in guideline.words
    assert "42" not in guideline.words
    assert "find_pilot" not in guideline.words, "the guideline gives the answer path away"
    assert len(weak.episode_ids) == 3


def test_success_of_a_class_has_the_interval_of_its_worlds():
    found = by_statistics([episode("lookup", w, n, right=w < 2) for w in range(4) for n in range(50)])
    [standing] = found.classes
    # two of four worlds: Wilson's interval of 2 of 4, however many attempts
    assert (standing.success.value, standing.success.num) == (0.5, 4)
    assert standing.success.low == pytest.approx(0.150, abs=0.001)
    assert {one.world for one in found.worlds} == {f"world(seed={w})" for w in range(4)}


def test_a_task_without_a_world_is_a_world_of_its_own():
    from evolvent.tasks import source

    one = source("chain", 0).task("chain", 1, 0)
    assert world_name(one) == one.task_id


def test_a_diagnosis_survives_json():
    found = by_statistics(arena({**dict.fromkeys(CLASSES, 0.8), "update": 0.1}), number=2, step=40)
    assert from_json(to_json(found)) == found
