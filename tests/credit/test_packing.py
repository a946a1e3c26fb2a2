import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.credit.batch import Row
from evolvent.credit.packing import pack_by_group, pack_by_length
from evolvent.errors import BadInput


def row(length, sample=0, group="t", prompt=None):
    """A row of one group; the tokens behind its prompt are its own (all of them where there is no prompt)."""
    mask = np.arange(length) >= (0 if prompt is None else prompt)
    tokens = np.where(mask, 1000 * (sample + 1), 0) + np.arange(length)
    return Row((group,), (group, sample, "a"), tokens, mask, mask, np.zeros(length), np.zeros(length), ())


def lengths(packs):
    return [[len(r.tokens) for r in p] for p in packs]


def held(packs):
    return sorted(r.trace for p in packs for r in p)


def test_packs_by_length_worked_by_hand():
    # budget 10: two rows of 5 fill it; 4 and 2 share 2 x 4 = 8 places, cheaper than a micro-batch of their own each
    assert lengths(pack_by_length([row(n, i) for i, n in enumerate([2, 5, 4, 5])], 10)) == [[5, 5], [4, 2]]
    assert pack_by_length([], 10) == pack_by_group([], 10) == []


def test_one_long_row_does_not_pad_all_others():
    # together 41 x 500 = 20,500 places; apart 500 + 40 x 50 = 2,500 and one more micro-batch
    packs = pack_by_length([row(500), *(row(50, i) for i in range(1, 41))], 30_000)
    assert [len(p) for p in packs] == [1, 40]


def test_a_little_padding_is_cheaper_than_another_micro_batch():
    # together 2 x 60 = 120 places; apart 60 + 50 = 110, which saves 10 tokens and costs a whole micro-batch
    assert lengths(pack_by_length([row(60), row(50, 1)], 1000)) == [[60, 50]]


def test_packs_by_group_worked_by_hand():
    # a prompt of 6 counts once: two groups of 6 + 3 x 4 = 18 tokens in a budget of 20, though their rows hold 30 each
    rows = [row(10, i, group, prompt=6) for i in range(3) for group in "ba"]
    packs = pack_by_group(rows, 20)
    assert [[r.trace[:2] for r in p] for p in packs] == [[(g, i) for i in range(3)] for g in "ab"]
    # nothing is shared where the starts differ: 10 tokens a row, and two rows fill the budget
    rows = [row(10, i) for i in range(4)]
    assert lengths(pack_by_group(rows, 20)) == [[10, 10], [10, 10]]


def test_micro_batches_are_about_equally_full():
    # 11 rows of 10 in a budget of 100: two micro-batches of 6 and 5, not of 10 and 1
    assert [len(p) for p in pack_by_group([row(10, i) for i in range(11)], 100)] == [6, 5]


sizes = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3), st.integers(0, 8)), max_size=40)


@given(sizes, st.integers(30, 120))
def test_every_row_is_in_exactly_one_pack_and_the_budget_holds(sizes, budget):
    rows = [row(n, i, str(g), min(p, n - 1)) for i, (n, g, p) in enumerate(sizes)]
    for pack in (pack_by_length, pack_by_group):
        assert held(pack(rows, budget)) == held([rows])
        assert all(pack(rows, budget))
    assert all(len(p) * max(len(r.tokens) for r in p) <= budget for p in pack_by_length(rows, budget))
    for pack in pack_by_group(rows, budget):
        alone = {tuple(r.tokens[: i + 1]) for r in pack for i in range(len(r.tokens))}
        assert len(alone) <= budget, "starts that rows share are counted once, so what is left fits"


@given(sizes, st.integers(30, 120), st.randoms(use_true_random=False))
def test_the_order_of_rows_carries_nothing(sizes, budget, rng):
    rows = [row(n, i, str(g), min(p, n - 1)) for i, (n, g, p) in enumerate(sizes)]
    shuffled = list(rows)
    rng.shuffle(shuffled)
    for pack in (pack_by_length, pack_by_group):
        assert [[r.trace for r in p] for p in pack(rows, budget)] == [
            [r.trace for r in p] for p in pack(shuffled, budget)
        ]


@pytest.mark.parametrize("pack", [pack_by_length, pack_by_group])
def test_a_row_longer_than_a_pack_says_which_number_to_change(pack):
    with pytest.raises(BadInput, match="micro_tokens=11") as caught:
        pack([row(3), row(11)], 10)
    assert (caught.value.where, caught.value.got) == ("micro_tokens", 10)
