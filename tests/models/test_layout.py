import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.models import ModelSpec, build, build_tokenizer, fast
from evolvent.models.layout import MIN_SHARED, Block, cut_by_length, lay_flat, lay_padded

torch.set_num_threads(1)
PAD = 0
TOKENIZER = build_tokenizer()
MODEL = build(ModelSpec(depth=2), TOKENIZER, 0)


def matrix(rows, targets):
    """Rows of ids and the places to predict, padded at the end."""
    token_BT = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    mask_BT = np.zeros(token_BT.shape, dtype=bool)
    for i, (row, places) in enumerate(zip(rows, targets, strict=True)):
        token_BT[i, : len(row)] = row
        mask_BT[i, places] = True
    return token_BT, mask_BT


def group(prompt, endings):
    """Rows that share a prompt; every token of an ending is predicted."""
    rows = [[*prompt, *e] for e in endings]
    return rows, [list(range(len(prompt), len(r))) for r in rows]


def test_a_prompt_stands_once_and_every_ending_reads_it():
    prompt = list(range(100, 140))
    rows, targets = group(prompt, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    made = lay_flat(*matrix(rows, targets), PAD, "cpu")
    # 40 tokens of the prompt and 2 read tokens of each ending: the last token of a row predicts nothing
    assert (made.num_tokens, made.num_computed, made.num_positions) == (3 * 42, 46, 46)
    first, second = made.blocks
    assert (first.rows, first.length, first.keys) == (1, 40, None)
    assert (second.rows, second.length, second.keys.shape) == (3, 2, (3, 42))
    assert made.position_N.tolist() == [*range(40), 40, 41, 40, 41, 40, 41]
    assert made.token_N[second.keys].tolist() == [[*prompt, *r[40:42]] for r in rows]
    assert made.target_M.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert made.read_M.tolist() == [39, 40, 41, 39, 42, 43, 39, 44, 45]
    # the first token of an ending sees the prompt and itself, the second one more
    assert (second.mask == 0).sum(-1).flatten().tolist() == [41, 42] * 3


def test_a_start_too_short_to_pay_is_computed_in_every_row():
    prompt = list(range(100, 100 + MIN_SHARED - 1))
    rows, targets = group(prompt, [[1, 2], [3, 4]])
    made = lay_flat(*matrix(rows, targets), PAD, "cpu")
    assert made.num_computed == made.num_tokens and all(b.keys is None for b in made.blocks)
    rows, targets = group([*prompt, 9], [[1, 2], [3, 4]])
    assert lay_flat(*matrix(rows, targets), PAD, "cpu").num_computed == MIN_SHARED + 2


def test_equal_rows_cost_as_much_as_one():
    rows, targets = group(list(range(100, 160)), [[1, 2, 3]] * 4)
    made = lay_flat(*matrix(rows, targets), PAD, "cpu")
    assert made.num_computed == 62 and len(made.read_M) == 12
    assert made.read_M.tolist() == [59, 60, 61] * 4


def test_what_no_prediction_needs_is_not_computed():
    made = lay_flat(*matrix([[1, 2, 3, 4, 5, 6]], [[2]]), PAD, "cpu")
    assert made.token_N.tolist() == [1, 2] and made.read_M.tolist() == [1] and made.target_M.tolist() == [3]


def test_a_rectangle_for_models_that_want_one():
    made = lay_padded(*matrix([[1, 2, 3, 4], [5, 6]], [[1, 3], [1]]), PAD, "cpu")
    assert made.token_N.view(2, 3).tolist() == [[1, 2, 3], [5, PAD, PAD]]
    assert made.blocks == (Block(0, 2, 3),)
    assert (made.read_M.tolist(), made.target_M.tolist()) == ([0, 2, 3], [2, 4, 6])
    assert (made.num_tokens, made.num_positions) == (4, 6)


def test_a_predicted_token_knows_where_it_stands_itself():
    prompt = list(range(100, 140))
    made = lay_flat(*matrix(*group(prompt, [[1, 2, 3], [4, 5, 6]])), PAD, "cpu")
    # the prompt fills 0 to 39, the endings 40-41 and 42-43; the last token of a row is not computed
    assert made.own_M.tolist() == [40, 41, -1, 42, 43, -1]
    made = lay_padded(*matrix([[1, 2, 3, 4], [5, 6, 7]], [[1, 3], [1, 2]]), PAD, "cpu")
    assert made.own_M.tolist() == [1, -1, 4, -1]


@st.composite
def trees(draw):
    """Rows that branch at several depths, in any order, some cut short, some equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        prompt = rng.integers(1, 200, rng.integers(1, 60)).tolist()
        for _ in range(draw(st.integers(1, 3))):
            middle = rng.integers(1, 200, rng.integers(0, 50)).tolist()
            rows += [[*prompt, *middle, *rng.integers(1, 200, rng.integers(1, 12)).tolist()] for _ in range(3)]
        rows.append(list(rows[-1]))
        rows.append(rows[-1][: max(2, len(rows[-1]) // 2)])
    rows = [r if len(r) > 1 else [*r, 5] for r in rows]
    rng.shuffle(rows)
    targets = [sorted(rng.choice(np.arange(1, len(r)), rng.integers(1, len(r)), replace=False)) for r in rows]
    return rows, targets


@given(trees())
@settings(max_examples=25, deadline=None)
def test_what_stands_where_a_predicted_token_stands_is_that_token(tree):
    tokens, masks = matrix(*tree)
    for lay in (lay_flat, lay_padded):
        made = lay(tokens, masks, PAD, "cpu")
        stands = made.own_M >= 0
        assert torch.equal(made.token_N[made.own_M[stands]], made.target_M[stands])


@given(trees())
@settings(max_examples=25, deadline=None)
def test_any_tree_of_rows_gives_the_numbers_and_gradients_of_padded_rows(tree):
    tokens, masks = matrix(*tree)
    weights = fast.FastWeights(MODEL)
    found = []
    for lay in (lay_flat, lay_padded):
        made = lay(tokens, masks, PAD, "cpu")
        MODEL.zero_grad()
        hidden = fast.flat_hidden(weights, made.token_N, made.position_N, made.blocks)
        logprob, entropy = fast.score(weights, hidden.index_select(0, made.read_M), made.target_M)
        (logprob * torch.linspace(-1, 1, len(logprob))).sum().backward()
        found.append((logprob.detach(), entropy, [p.grad.clone() for p in MODEL.parameters()]))
    (mine, mine_entropy, mine_grad), (theirs, entropy, grad) = found
    assert torch.allclose(mine, theirs, atol=1e-5) and torch.allclose(mine_entropy, entropy, atol=1e-5)
    for a, b in zip(mine_grad, grad, strict=True):
        assert (a - b).abs().max() <= 1e-4 * (1 + b.abs().max())


@given(trees())
@settings(max_examples=40, deadline=None)
def test_every_prediction_is_read_behind_its_own_past(tree):
    rows, targets = tree
    made = lay_flat(*matrix(rows, targets), PAD, "cpu")
    flat, position = made.token_N.numpy(), made.position_N.numpy()
    wanted = [(row[p - 1], p - 1, row[p]) for row, places in zip(rows, targets, strict=True) for p in places]
    reads = made.read_M.numpy()
    assert [(flat[r], position[r], t) for r, t in zip(reads, made.target_M.tolist(), strict=True)] == wanted
    assert made.num_computed <= made.num_tokens and made.num_computed <= made.num_positions
    starts = [b.start for b in made.blocks]
    assert starts == [0, *np.cumsum([b.rows * b.length for b in made.blocks])[:-1].tolist()]


lengths = st.lists(st.integers(1, 30), max_size=40).map(lambda x: sorted(x, reverse=True))


@given(lengths, st.integers(30, 120), st.integers(0, 300))
def test_runs_cover_the_list_within_the_budget(lengths, most, cost):
    stops = cut_by_length(lengths, most, cost)
    runs = [lengths[a:b] for a, b in zip([0, *stops], stops, strict=False)]
    assert [x for r in runs for x in r] == lengths
    assert all(r and len(r) * r[0] <= most for r in runs)


@pytest.mark.parametrize(("cost", "stops"), [(10, [1, 3]), (100, [3])])
def test_a_run_more_is_made_where_it_saves_more_than_it_costs(cost, stops):
    # (50, 10, 10): one run is 150 places, two are 50 + 20 = 70 and one run more
    assert cut_by_length([50, 10, 10], 1000, cost) == stops
