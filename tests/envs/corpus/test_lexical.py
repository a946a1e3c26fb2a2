from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.envs.corpus import Bm25, Hit, split_words
from evolvent.errors import BadInput

pytest.importorskip("bm25s")

THREE = ("a b", "a a c", "b c c d")  # lengths 2, 3, 4: the mean is 3
LETTERS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=8).map(" ".join)


def test_the_score_on_three_documents_is_the_one_worked_by_hand():
    # "a" stands in 2 of 3: idf = ln(1 + 1.5/2.5) = ln 1.6; tf parts 1/(1 + .9(.6 + .4*2/3)) and 2/(2 + .9)
    expected = [math.log(1.6) * 1 / (1 + 0.9 * (0.6 + 0.4 * 2 / 3)), math.log(1.6) * 2 / 2.9, 0.0]
    assert Bm25(THREE).scores("a") == pytest.approx(expected)
    # with k1 = 1.2, b = 0.75; "d" stands in 1 of 3, once in the longest: ln(1 + 2.5/1.5) / (1 + 1.2(.25 + .75*4/3))
    assert Bm25(THREE, k1=1.2, b=0.75).scores("d")[2] == pytest.approx(math.log(1 + 2.5 / 1.5) / (1 + 1.2 * 1.25))


def test_a_word_said_three_times_counts_three_times():
    index = Bm25(THREE)
    assert index.scores("a a a c") == pytest.approx(3 * index.scores("a") + index.scores("c"))


def test_the_best_come_first_and_what_shares_no_word_is_not_found():
    index = Bm25(THREE)
    assert [hit.position for hit in index.rank("a", 10)] == [1, 0]
    assert index.rank("a", 1) == (Hit(1, pytest.approx(math.log(1.6) * 2 / 2.9)),)
    assert index.rank("zebra", 10) == index.rank("", 10) == index.rank("?!", 3) == ()


def test_equal_documents_come_in_their_order_however_many_there_are():
    index = Bm25(["x y"] * 300 + ["y"] * 50)
    assert [hit.position for hit in index.rank("x", 7)] == list(range(7))
    assert [hit.position for hit in index.rank("x", 999)] == list(range(300))


def test_case_and_punctuation_do_not_matter():
    assert split_words("Don't STOP, élan-2!") == ["don", "t", "stop", "élan", "2"]
    assert Bm25(["A, B!", "c"]).rank("a b", 5) == Bm25(["a b", "c"]).rank("A?? b", 5)


def test_an_empty_document_among_others_is_never_found():
    assert [hit.position for hit in Bm25(["", "a", "..."]).rank("a", 5)] == [1]


def test_texts_without_a_word_cannot_be_indexed():
    for texts in ([], [""], ["?!"]):
        with pytest.raises(BadInput, match="nothing to index"):
            Bm25(texts)


@given(st.lists(LETTERS, min_size=1, max_size=12), LETTERS)
@settings(max_examples=40, deadline=None)
def test_the_score_is_the_sum_over_the_words_of_the_query_and_order_follows_it(texts, query):
    index = Bm25(texts)
    summed = sum((index.scores(word) for word in query.split()), np.zeros(len(texts)))
    assert index.scores(query) == pytest.approx(summed)
    hits = index.rank(query, len(texts))
    assert [(-h.score, h.position) for h in hits] == sorted((-h.score, h.position) for h in hits)
    assert {h.position for h in hits} == {i for i, text in enumerate(texts) if set(text.split()) & set(query.split())}


def test_without_the_library_the_cure_is_the_line_that_installs_it():
    code = (
        "import sys; sys.modules['bm25s'] = None\n"
        "from evolvent.envs.corpus import Bm25\n"
        "try: Bm25(['a'])\n"
        "except ImportError as e: print(type(e).__name__, e.cure)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "MissingExtra pip install 'evolvent[corpus]'"
