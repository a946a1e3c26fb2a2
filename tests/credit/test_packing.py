import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.credit.batch import Row
from evolvent.credit.packing import pack, padding_share
from evolvent.errors import BadInput


def row(length, sample=0):
    off = np.zeros(length, dtype=bool)
    return Row(("t",), ("t", sample, "a"), np.arange(length), off, off, np.zeros(length), np.zeros(length), ())


def lengths(packs):
    return [[len(r.tokens) for r in p] for p in packs]


def test_packs_worked_by_hand():
    # budget 10: two rows of 5 fill it; 4 and 2 share 2 x 4 = 8 places, cheaper than a micro-batch of their own each
    packs = pack([row(n, i) for i, n in enumerate([2, 5, 4, 5])], 10)
    assert lengths(packs) == [[5, 5], [4, 2]]
    # 16 tokens in 2 x 5 + 2 x 4 = 18 places
    assert padding_share(packs) == pytest.approx(2 / 18)
    assert padding_share([]) == 0.0 and pack([], 10) == []


def test_one_long_row_does_not_pad_all_others():
    # together 41 x 500 = 20,500 places; apart 500 + 40 x 50 = 2,500 and one more micro-batch
    packs = pack([row(500), *(row(50, i) for i in range(1, 41))], 30_000)
    assert [len(p) for p in packs] == [1, 40]
    assert padding_share(packs) == 0


def test_a_little_padding_is_cheaper_than_another_micro_batch():
    # together 2 x 60 = 120 places; apart 60 + 50 = 110, which saves 10 tokens and costs a whole micro-batch
    assert lengths(pack([row(60), row(50, 1)], 1000)) == [[60, 50]]


def test_the_share_of_padding_does_not_trust_the_order_within_a_pack():
    # 3 + 1 tokens in 2 x 3 places
    assert padding_share([(row(1), row(3))]) == padding_share([(row(3), row(1))]) == pytest.approx(2 / 6)


sizes = st.lists(st.integers(1, 30), max_size=40)


@given(sizes, st.integers(30, 120))
def test_every_row_is_in_exactly_one_pack_and_the_budget_holds(sizes, budget):
    rows = [row(n, i) for i, n in enumerate(sizes)]
    packs = pack(rows, budget)
    assert sorted(r.trace for p in packs for r in p) == sorted(r.trace for r in rows)
    assert all(len(p) * max(len(r.tokens) for r in p) <= budget for p in packs)
    assert all(packs) and 0 <= padding_share(packs) < 1


@given(sizes, st.integers(30, 120), st.randoms(use_true_random=False))
def test_the_order_of_rows_carries_nothing(sizes, budget, rng):
    rows = [row(n, i) for i, n in enumerate(sizes)]
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert [[r.trace for r in p] for p in pack(rows, budget)] == [[r.trace for r in p] for p in pack(shuffled, budget)]


@given(st.integers(1, 30), st.integers(1, 40))
def test_rows_of_one_length_leave_no_padding(length, num):
    assert padding_share(pack([row(length, i) for i in range(num)], 60)) == 0


def test_a_row_longer_than_a_pack_says_which_number_to_change():
    with pytest.raises(BadInput, match="micro_tokens=11") as caught:
        pack([row(3), row(11)], 10)
    assert (caught.value.where, caught.value.got) == ("micro_tokens", 10)
