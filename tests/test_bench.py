import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are no part of the package

from bench import packing, sampling, sandbox, store, table  # noqa: E402
from bench.__main__ import NAMES, Wrong, check_options, choose, keep, kept_rows, run_cases, understand  # noqa: E402
from bench.drawing import draw  # noqa: E402
from bench.flops import Shape, sampling_flops, training_flops  # noqa: E402
from bench.inputs import lengths, prescribed, prompts  # noqa: E402
from bench.memory import peak_growth  # noqa: E402
from bench.our_side import Agreement, agreement, batch_of, gradient  # noqa: E402
from bench.rows import Bound, Side, beside, compared, in_turn  # noqa: E402

KEYS = {"row", "peer", "ratio", "low", "high", "ours", "theirs", "unit", "same_work", "target", "limit", "why"}
SHAPE = Shape(inside=100, head=10, layers=2, width=4)


def bench(*words):
    return subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


# ---------------------------------------------------------------- how sides are compared


def test_sides_run_in_turn_and_each_is_made_ready_before():
    order = []
    ours, theirs = (
        Side(lambda name=name: order.append(name) or 1.0, lambda name=name: order.append(name.lower())) for name in "AB"
    )
    turns = in_turn((ours, theirs), 3)
    assert order == ["a", "A", "b", "B"] * 3
    assert [len(rate) for rate in turns.rates] == [3, 3] and len(turns.peaks) == 2


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_every_side_is_charged_with_its_own_memory():
    small, large = (Side(lambda num=num: float(len(b"x" * (num * 2**20)))) for num in (16, 64))
    turns = in_turn((large, small), 2)
    assert turns.peaks[0] > 3 * turns.peaks[1] > 30 * 2**20


def test_a_row_is_the_ratio_of_medians_and_the_spread_of_pairs():
    row = compared("r", "p", ([2.0, 6.0, 4.0], [1.0, 2.0, 4.0]), unit="u", same_work=True, target=1.5, settings={})
    assert (row.ours, row.theirs, row.ratio) == (4.0, 2.0, 2.0)
    assert (row.low, row.high) == (1.0, 3.0)  # 4/4 and 6/2
    assert row.limit is None and row.why == ""


def test_a_row_below_its_target_says_how_far_the_bound_would_let_it_go():
    # 10 FLOP a unit at 100 FLOP/s: at most 10 units/s
    bound = Bound(10.0, 100.0)
    row = compared("r", "p", ([4.0], [2.0]), unit="u", same_work=True, target=3.0, settings={}, bound=bound, why="x")
    assert row.limit == pytest.approx(0.4)
    assert row.why.startswith("x; ") and "a ratio of 5.0" in row.why and "20 %" in row.why and "40 %" in row.why
    fine = compared("r", "p", ([4.0], [2.0]), unit="u", same_work=True, target=2.0, settings={}, bound=bound, why="x")
    assert fine.why == "x"


def test_memory_of_two_sides_stands_in_megabytes_with_its_ratio():
    assert beside(3 * 2**20, 6 * 2**20) == {"ours MB": 3.0, "theirs MB": 6.0, "ratio": 0.5}
    assert beside(None, 1.0) is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_growth_is_seen_although_the_memory_is_freed_and_taken_again():
    for _ in range(2):
        assert 60 < peak_growth(lambda: b"x" * (64 * 2**20)) / 2**20 < 80
    assert peak_growth(lambda: None) / 2**20 < 20


def test_arithmetic_of_sampling_reads_a_prompt_once_per_group():
    # prompt of 3: 3 tokens inside, 1 scored; pairs 1 + 2 + 3. Two rows of 2 tokens: each reads one more, of 4 pairs
    prompt = 2 * (100 * 3 + 10) + 4 * 2 * 4 * 6
    row = 2 * (100 * 1 + 10) + 4 * 2 * 4 * 4
    assert sampling_flops(SHAPE, [[1, 2, 3]], [2, 2]) == prompt + 2 * row
    assert training_flops(SHAPE, [(3, [2, 2])]) == 3 * (prompt + 2 * row)


# ---------------------------------------------------------------- prescribed lengths


def test_real_lengths_have_a_tail_that_is_cut_and_a_seed():
    drawn = lengths("real", 512, 64)
    assert drawn == lengths("real", 512, 64) != lengths("real", 512, 64, seed=1)
    assert min(drawn) >= 2 and max(drawn) == 64 and sum(drawn) / 512 < 32
    assert lengths("fixed", 3, 7) == [7, 7, 7]


def test_the_end_is_forbidden_before_its_time_and_forced_then():
    torch = pytest.importorskip("torch")
    processor = prescribed([1, 2], start=3, end_id=0)
    scores = processor(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 4))
    assert scores[0].tolist() == [0.0, -math.inf, -math.inf, -math.inf]  # token 1 of row 0 is its last
    assert scores[1].tolist() == [-math.inf, 0.0, 0.0, 0.0]
    scores = processor(torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, 4))
    assert scores[1].tolist() == [0.0, -math.inf, -math.inf, -math.inf]


@pytest.fixture(scope="module")
def sides(tiny_qwen3):
    from bench.inputs import our_policy, peer_model

    return our_policy(tiny_qwen3, "float32"), peer_model(tiny_qwen3, "float32")


def test_both_sides_draw_exactly_what_is_prescribed(sides):
    policy, plain = sides
    asked, row_lengths = prompts(3, 2, 6), lengths("real", 3 * sampling.GROUP, 12)
    made = sampling.sampled(policy, asked, row_lengths, seed=1)
    assert [len(completion.tokens) for _, completion in made] == row_lengths
    generate = sampling._generate(plain, asked, row_lengths, "dynamic", policy.tokenizer, "cpu")
    assert generate(12) == sum(row_lengths)
    rows = [(prompt.tokens, completion.tokens, completion.model_logprobs) for prompt, completion in made]
    assert max(sampling.largest_gap(plain, *row) for row in rows) <= 1e-4


def test_log_probabilities_that_differ_are_seen(sides):
    policy, plain = sides
    made = sampling.sampled(policy, prompts(1, 5, 5), [6] * sampling.GROUP, seed=1)
    prompt, completion = made[0]
    wrong = (completion.model_logprobs[0] + 1e-3, *completion.model_logprobs[1:])
    gap = sampling.largest_gap(plain, prompt.tokens, completion.tokens, wrong)
    assert gap == pytest.approx(1e-3, rel=0.05)


# ---------------------------------------------------------------- same work as TRL


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_the_gradient_on_trls_rows_is_trls_and_a_planted_difference_is_seen(tiny_qwen3, sides):
    pytest.importorskip("trl")
    from bench.step import scored_with_gaps
    from bench.trl_side import Grpo

    theirs = Grpo(tiny_qwen3, "float32", 4, 8, 6, scored_with_gaps)
    theirs.asked, theirs.row_lengths = prompts(2, 3, 9), [6, 2, 3, 4, 5, 6, 2, 3]
    for num_micro in (1, 2):
        theirs.split(num_micro)
        theirs.backward()
        trained = theirs.trained()
        theirs.model.zero_grad()
        assert trained.num_tokens == sum(theirs.row_lengths)
        assert [r[2] for r in trained.rows].count(0.0) == 4, "group 1 has no signal"
        assert agreement(gradient(sides[0], batch_of(trained.rows), "float32"), trained.gradient).holds("float32")
    tokens, start, credit = trained.rows[0]
    lone = [r for r in trained.rows if not r[2]]
    for planted in (
        [(tokens, start, credit * 1.01 + 0.01), *trained.rows[1:]],
        [([*tokens[:-1], tokens[-1] ^ 1], start, credit), *trained.rows[1:]],
        [r for r in trained.rows if r is not lone[0]],
    ):
        near = agreement(gradient(sides[0], batch_of(planted), "float32"), trained.gradient)
        assert not near.holds("float32"), near


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_packing_leaves_trls_supervised_gradient_as_ours(tiny_qwen3, sides):
    pytest.importorskip("trl")
    from bench.sft import Sft, ragged

    from evolvent.training.losses import Likelihood, token_mean

    rows = ragged(6)
    theirs = Sft(tiny_qwen3, "float32", rows, 256, "cpu")
    assert len(theirs.inputs) < len(rows), "rows are packed"
    assert theirs.num_trained == sum(len(tokens) - start for tokens, start, _ in rows)
    mine = gradient(sides[0], batch_of(rows), "float32", Likelihood(token_mean))
    assert agreement(mine, theirs.first_gradient).holds("float32")


def test_gradients_agree_by_the_largest_gap_or_by_their_direction():
    torch = pytest.importorskip("torch")
    one = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([0.0])}
    other = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([1.0])}
    near = agreement(one, other)
    assert near.gap == pytest.approx(1 / 4) and near.cosine == pytest.approx(25 / (5 * math.sqrt(26)))
    assert not agreement(one, {"a": one["a"]}).holds("float32")
    assert Agreement(1e-5, 1.0).holds("float32") and not Agreement(2e-4, 1.0).holds("float32")
    assert Agreement(1.0, 0.995).holds("bfloat16") and not Agreement(0.0, 0.98).holds("bfloat16")


# ---------------------------------------------------------------- words on the command line


def test_names_options_and_flags_are_understood():
    assert understand(["step", "size=0.3M", "full=true", "--json"]) == (["step"], {"size": "0.3M"}, True)
    assert understand([])[0] == list(NAMES)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["steps"], "no benchmark 'steps'; one of: sampling, step"),
        (["step", "--fast"], "no flag '--fast'"),
        (["step", "full=yes"], "full=yes is neither"),
        (["growth", "table"], "table stands alone"),
    ],
)
def test_words_that_make_no_sense_are_refused(words, told):
    with pytest.raises(Wrong, match=told):
        understand(words)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sise": "3M"}, "no option 'sise'; there is .*size"),
        ({"size": "7M"}, "no case with size=7M; there is 0.3M, 3M"),
    ],
)
def test_options_that_fit_no_case_are_refused(options, told):
    with pytest.raises(Wrong, match=told):
        check_options(["step"], options, full=False)


def test_options_choose_cases_and_change_them():
    chosen = choose("sampling", {"size": "0.3M", "threads": "1", "lengths": "real", "pairs": "1"}, full=False)
    plain = [case for case in chosen if case["peer"] == "generate"]
    assert [case["dtype"] for case in plain] == ["float32+bfloat16"]
    assert choose("sampling", {"dtype": "bfloat16", "size": "3M"}, full=False)[0]["dtype"] == "bfloat16"
    assert all(case["lengths"] == "real" and case["pairs"] == 1 and case["threads"] == 1 for case in chosen)
    assert all("pairs" not in case for case in choose("store", {"pairs": "1"}, full=False))
    with pytest.raises(Wrong, match="pairs=0"):
        choose("step", {"pairs": "0"}, full=False)
    with pytest.raises(Wrong, match="device 'tpu' cannot be used"):
        choose("step", {"device": "tpu"}, full=False)


def test_a_wrong_word_ends_with_2_and_a_peer_that_is_absent_with_its_cure():
    made = bench("nothing")
    assert made.returncode == 2 and "no benchmark 'nothing'" in made.stderr and not made.stdout
    code = (
        "import importlib.util as u, sys; found = u.find_spec; "
        "u.find_spec = lambda name, *more: None if name == 'trl' else found(name, *more); "
        "from bench.__main__ import main; sys.exit(main(['step']))"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 2 and "make bench ARGS=step" in made.stderr


def test_vllm_that_does_not_start_says_how_to_install_it(tiny_qwen3):
    from bench.vllm_peer import Vllm

    if subprocess.run([sys.executable, "-c", "import vllm"], capture_output=True, check=False).returncode == 0:
        pytest.skip("vllm is here")
    with pytest.raises(SystemExit, match="make bench-peers"), Vllm(Path(sys.executable), tiny_qwen3, "float32", 1):
        pass


# ---------------------------------------------------------------- what is kept and shown


@pytest.mark.slow
def test_the_last_line_is_json_with_the_promised_keys():
    made = bench("packing", "mix=all alike", "--json")
    rows = json.loads(made.stdout.splitlines()[-1])
    assert made.returncode == 0 and len(rows) == 1
    assert set(rows[0]) >= KEYS and set(rows[0]) - KEYS == {"settings", "memory"}
    assert rows[0]["same_work"] and rows[0]["ours"] == 0.0


def test_reading_back_finds_what_was_written():
    (row,) = store.measure(episodes=2000)
    assert row.same_work and row.settings["kept"] == 20


def test_a_sandbox_is_compared_with_a_plain_interpreter():
    rows = sandbox.measure("monty", "session", rounds=1)
    assert rows and rows[0].peer == "subprocess" and rows[0].same_work
    assert rows[0].ratio > 1 and "/" in rows[0].settings["p50/p99 ms"]


def test_a_tier_that_is_not_here_has_no_row_and_says_why(monkeypatch, capsys):
    from evolvent.envs.sandbox import choose

    monkeypatch.setattr(choose, "_probed", dict.fromkeys(choose.TIERS, "not on this machine"))
    assert sandbox.measure("landlock", "one-shot", rounds=1) == []
    assert "not on this machine" in capsys.readouterr().err


def test_packing_reports_what_an_update_read():
    (row,) = packing.measure("even 32..512", rows=16)
    assert row.same_work and 0 <= row.ours < 0.5


def test_finished_cases_are_kept_and_not_run_again(tmp_path, capsys):
    kept = tmp_path / "kept.jsonl"
    (case,) = choose("packing", {"mix": "all alike"}, full=False)
    row = {**dict.fromkeys(KEYS, 1.0), "row": "r", "peer": "p", "unit": "u", "why": "", "settings": {}, "memory": None}
    keep(kept, {json.dumps(case, sort_keys=True): [row]})
    rows = []
    assert run_cases("packing", [case], kept, rows, again=False) == 0
    assert rows == [row] and kept_rows(kept) == {json.dumps(case, sort_keys=True): [row]}


def test_a_line_bends_where_its_slope_leaves_the_range_for_good():
    # doublings bring 2, 2, 1.1, 1.1: slopes 1, 1, 0.14, 0.14
    assert table.bend([(1, 1), (2, 2), (4, 4), (8, 4.4), (16, 4.84)], 0.5) == 4
    assert table.bend([(1, 1), (2, 2), (4, 4)], 0.5) is None
    assert table.bend([(1, 8), (2, 8), (4, 4), (8, 2)], -0.25) == 2


def test_curves_become_a_picture_and_words():
    rows = [
        {"settings": {"curve": "batch", "line": "0.3M", "x": x, "dtype": "float32"}, "ours": y}
        for x, y in ((8, 100.0), (16, 200.0), (32, 210.0))
    ]
    panel = table.panel("batch", rows)
    picture = ElementTree.fromstring(draw([panel, panel, panel]))
    assert len(picture.findall(".//{*}circle")) == 9
    assert "a doubling brings x 2.00, 1.05; bends at 16" in table.told("batch", panel)


def test_tables_stand_between_their_marks():
    page = "a\n<!-- begin ratios -->\nold\n<!-- end ratios -->\nb\n"
    assert table.put(page, "ratios", "new") == page.replace("old", "new")
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    for name in ("ratios", "growth"):
        assert f"<!-- begin {name} -->" in text and f"<!-- end {name} -->" in text
