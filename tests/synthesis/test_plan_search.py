import functools
import math
from random import Random

import numpy as np
import pytest
import torch

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.models import ModelSpec, build, build_tokenizer
from evolvent.policies.local import LocalPolicy
from evolvent.records import said
from evolvent.seeds import stream
from evolvent.synthesis.plan_search import (
    Concludes,
    CopyLeak,
    Pair,
    Perplexity,
    PlanSearch,
    Repetition,
    count,
    perplexity,
    search_at_random,
)

ANSWER = "the old fox crossed a frozen lake and never came back"
PAIR = Pair("p", "A story.", ANSWER)
LETTERS = "abcdef"


def wrong_letters(asked):
    """A scorer that knows what it wants: 1 and one more for every segment that is not the letter of its place."""
    return [1.0 + sum(a != b for a, b in zip(plan, "abcde", strict=True)) for _, plan in asked]


def any_letter(pair, plan, number, rng):
    return rng.choices(LETTERS, k=2)


def draw_letters(pair, rng):
    return tuple(rng.choices(LETTERS, k=5))


def pairs(num):
    return [Pair(str(i), "", ANSWER) for i in range(num)]


# ---------------------------------------------------------------- perplexity


def test_perplexity_of_three_tokens_by_hand() -> None:
    # p = 1/2, 1/4, 1/8: the geometric mean is (1/64)^(1/3) = 1/4
    assert perplexity([math.log(1 / 2), math.log(1 / 4), math.log(1 / 8)]) == pytest.approx(4.0)
    assert perplexity([0.0, 0.0]) == 1.0
    with pytest.raises(BadInput, match="no perplexity"):
        perplexity([])


def ask(question, plan):
    return (said("user", " ".join((question, *plan))),)


@pytest.fixture(scope="module", params=["fast", "generic"])
def policy(request):
    model = build(ModelSpec(depth=1, max_context=128), build_tokenizer(), 0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3 if weight.ndim == 2 else 1)
    return LocalPolicy(model, build_tokenizer(), engine=request.param)


def test_only_the_tokens_of_the_answer_count(policy) -> None:
    asked = [(Pair("1", "q", "abc"), ("plan",)), (Pair("2", "q", "a longer one"), ()), (Pair("3", "q", "abc"), ("z",))]
    got = Perplexity(policy, ask, rows_at_once=2)(asked)
    for (pair, plan), ppl in zip(asked, got, strict=True):
        before, answer = policy.renderer.open(ask(pair.question, plan)), list(pair.answer.encode())
        tokens = np.array([[*before, *answer]])
        with torch.no_grad():
            logprob = policy.model(torch.from_numpy(tokens)).logits[0].double().log_softmax(-1)
        each = [logprob[len(before) + i - 1, token].item() for i, token in enumerate(answer)]
        assert ppl == pytest.approx(math.exp(-sum(each) / len(answer)), rel=1e-4)


# ---------------------------------------------------------------- the search


def test_the_trace_never_rises_and_what_stands_is_always_among_the_candidates() -> None:
    found = PlanSearch(num_visits=40)(
        pairs(30), [("f",) * 5] * 30, any_letter, wrong_letters, functools.partial(stream, 0)
    )
    for one in found:
        assert all(later < earlier for earlier, later in zip(one.trace, one.trace[1:], strict=False))
        assert one.trace[-1] == wrong_letters([(one.pair, one.plan)])[0]
        assert one.stop in ("enough", "settled", "visits")
    assert min(one.trace[0] for one in found) == 6.0
    assert sum(one.trace[-1] for one in found) / 30 < 3.5


def test_a_worse_candidate_changes_nothing() -> None:
    (found,) = PlanSearch(num_visits=9, max_quiet=5)(
        [PAIR],
        [tuple("abcde")],
        lambda *_: ["f"],
        lambda asked: [2 * s for s in wrong_letters(asked)],
        lambda n: Random(0),
    )
    assert found.plan == tuple("abcde") and found.trace == (2.0,)
    assert (found.stop, found.num_scored) == ("settled", 6)  # itself and one candidate a segment


def test_it_stops_when_the_answer_surprises_little_enough() -> None:
    (found,) = PlanSearch(num_visits=99)([PAIR], [tuple("fbcde")], lambda *_: ["a"], wrong_letters, lambda n: Random(0))
    assert (found.plan, found.trace, found.stop, found.num_scored) == (tuple("abcde"), (2.0, 1.0), "enough", 2)
    (cut,) = PlanSearch(num_visits=1)([PAIR], [tuple("ffcde")], lambda *_: ["a"], wrong_letters, lambda n: Random(0))
    assert (cut.stop, cut.trace) == ("visits", (3.0, 2.0))


def test_a_plan_of_too_many_words_is_not_scored() -> None:
    words = ["a b c", "a"]
    (found,) = PlanSearch(num_visits=1, max_words=5)(
        [PAIR], [tuple("ffcde")], lambda *_: words, wrong_letters, lambda n: Random(0)
    )
    assert found.num_scored == 2 and found.plan == tuple("afcde")


def test_segments_in_turn_beat_whole_plans_at_random_at_as_many_scorings() -> None:
    starts = [draw_letters(None, stream(1, str(i))) for i in range(100)]
    found = PlanSearch(num_visits=15)(pairs(100), starts, any_letter, wrong_letters, functools.partial(stream, 2))
    nums = [one.num_scored for one in found]
    random = search_at_random(pairs(100), draw_letters, wrong_letters, nums, functools.partial(stream, 3))
    assert [one.num_scored for one in random] == nums
    assert sum(f.trace[-1] for f in found) / 100 < sum(r.trace[-1] for r in random) / 100 - 0.5


def test_what_is_found_for_a_pair_does_not_depend_on_the_others() -> None:
    starts = [("f",) * 5] * 8
    search = functools.partial(PlanSearch(num_visits=12), propose=any_letter, score=wrong_letters)
    whole = search(pairs(8), starts, rng=functools.partial(stream, 4))
    alone = search(pairs(8)[3:4], starts[:1], rng=functools.partial(stream, 4))
    assert whole[3] == alone[0]


# ---------------------------------------------------------------- filters


def surprise(asked):
    """A scorer that copies: a word of the answer that stands in the plan costs nothing, another costs 1 nat."""
    words = [(pair.answer.split(), set(" ".join(plan).split())) for pair, plan in asked]
    return [perplexity([0.0 if w in known else -1.0 for w in answer]) for answer, known in words]


def test_a_plan_that_copies_the_answer_surprises_least_and_is_refused() -> None:
    honest, leak = ("an animal", "leaves"), (ANSWER, "leaves")
    scores = surprise([(PAIR, honest), (PAIR, leak)])
    assert scores[1] == 1.0 < scores[0]
    refuse = CopyLeak(num_words=3)
    assert "copies the answer" in refuse(PAIR, leak) and refuse(PAIR, honest) == ""
    assert refuse(PAIR, ("the old", "fox crossed")) == ""  # no run within a segment is long enough

    def tempt(pair, plan, number, rng):
        return [pair.answer, "a fox"]

    (open_,) = PlanSearch(4, filters=(refuse,))([PAIR], [honest], tempt, surprise, lambda n: Random(0))
    assert open_.plan[0] == ANSWER and open_.refused
    (kept,) = PlanSearch(4, forbids=(refuse,), filters=(refuse,))(
        [PAIR], [honest], tempt, surprise, lambda n: Random(0)
    )
    assert kept.plan[0] == "a fox" and not kept.refused and kept.trace[-1] < kept.trace[0]


def test_a_plan_that_repeats_itself_is_refused() -> None:
    # "a b c a b c a b c": 7 trigrams, abc 3, bca 2, cab 2 of them again: all 7
    assert Repetition()(PAIR, ("a b c a b c a b c",)) == "repeats itself: 7 of 7 trigrams"
    assert Repetition()(PAIR, ("one two three four five six",)) == ""  # three of four, but none comes again
    # 10 trigrams, x y z twice: 2 of 10 is not above 0.3
    assert Repetition()(PAIR, ("x y z a b c d e f x y z",)) == ""


def test_a_plan_that_never_concludes_is_refused() -> None:
    thinking = "hmm, maybe a fox. wait, a wolf? " + "then the lake freezes over and nobody sees it " * 2
    assert Concludes()(PAIR, (thinking,)) == ""
    assert "never concludes" in Concludes()(PAIR, (thinking, "or maybe not"))


# ---------------------------------------------------------------- counts


def test_counts_by_hand() -> None:
    # behind nothing: "a" 3 times, "b" once; behind nothing with plan s: "b" once
    counts = count([((), "a"), ((), "a"), ((), "a"), (("s",), "b")])
    p_plain = 4 / 4.5 * (3 / 4.5) / (4 / 4.5)  # the known share, times 3 of 4 among the known
    assert counts([(Pair("p", "", "a"), ())])[0] == pytest.approx(1 / p_plain)
    # with s: a is worth 3/4.5 * (0 + 0.5) / 1.5, b 1/4.5 * (1 / (1/4.5) + 0.5) / 1.5
    a, b = 3 / 4.5 * 0.5 / 1.5, 1 / 4.5 * (4.5 + 0.5) / 1.5
    assert counts([(Pair("p", "", "b"), ("s",))])[0] == pytest.approx(1 / (4 / 4.5 * b / (a + b)))


def test_a_word_never_seen_is_surprising_and_not_impossible() -> None:
    counts = count([((), "a b"), ((), "a c")])
    new, old = counts([(Pair("p", "", "a d"), ()), (Pair("p", "", "a b"), ())])
    assert old < new < math.inf


def test_a_search_is_data() -> None:
    search = PlanSearch(3, forbids=(CopyLeak(3),), filters=(Repetition(), Concludes()))
    assert from_json(to_json(search)) == search
