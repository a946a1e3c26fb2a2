import json
import lzma
import math
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.golf import TokenBytes, artifact_bytes, bits_of_code, bits_per_byte
from evolvent.hive.golf_text import choose_typical, text_files
from evolvent.hive.sealed import Bench
from evolvent.hive.shipped import shipped
from evolvent.hive.space import read_space
from evolvent.hive.task_folder import Shelf, reseal

STORE = """
import sys
if sys.argv[1] == "encode":
    open("code.bin", "wb").write(open("inputs/text", "rb").read())
else:
    open("decoded.txt", "wb").write(open("inputs/predictions", "rb").read())
"""

TUNED = {
    "order": 4,
    "mix": "learned",
    "sets": "both",
    "rate": 0.005,
    "match": 6,
    "word": True,
    "fade": 0.5,
    "prior": 0.2,
}
TUNED["prime"] = 8000


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(Shelf(tmp_path_factory.mktemp("shelf")))


@pytest.fixture(scope="module")
def golf(bench):
    task = reseal(shipped("golf"), secret=5)
    bench.shelf.put(task)
    return task


@pytest.fixture
def play(bench, golf):
    return lambda code, **more: bench.measure_files(
        golf.digest, {"golf.py": code.encode(), **more}, seeds=golf.seeds[:1]
    )


def test_uniform_bytes_cost_eight_bits_each():
    assert bits_per_byte(math.log(256), 12345, 12345) == pytest.approx(8.0, abs=1e-12)
    assert bits_of_code(777, 777) == 8.0
    assert bits_per_byte(math.log(1024), 1000, 2500) == pytest.approx(10 / 2.5), "1024 equal tokens: 10 bits each"


def test_the_published_loss_and_bits_per_byte_belong_together():
    # the baseline of parameter golf: 2.0727 nats a token are 1.2244 bits a byte at 2.442 bytes a token
    assert bits_per_byte(2.0727, 1000, 2442) == pytest.approx(1.2244, abs=5e-4)


PIECES = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581the", "ing", "\u2581", "\u2581\u00e9t\u00e9", "\U0001f600"]


def test_bytes_of_tokens_by_hand():
    counts = TokenBytes.of(PIECES, frozenset({0, 1, 2}))
    assert counts.sizes == (0, 0, 0, 1, 3, 3, 0, 5, 4)
    assert counts.count([4, 5]) == 3 + 3, "at the start of a document the mark stands for no space"
    assert counts.count([4, 5], before=1) == 6 and counts.count([4, 5], before=5) == 7
    assert counts.count([1, 4, 4, 3, 7, 6]) == 0 + 3 + 4 + 1 + 6 + 1
    assert counts.count([4, 2, 4]) == 3 + 0 + 3 and counts.count([]) == 0


@given(st.lists(st.sampled_from([4, 5, 7, 8, 6]), min_size=1, max_size=30))
def test_bytes_of_tokens_are_those_of_the_text_that_they_spell(tokens):
    text = "".join(PIECES[token] for token in tokens).replace("\u2581", " ")
    counts = TokenBytes.of(PIECES, frozenset({0, 1, 2}))
    assert counts.count(tokens, before=3) == len(text.encode())
    assert counts.count(tokens) == len(text.removeprefix(" ").encode())
    cut = len(tokens) // 2
    parts = counts.count(tokens[:cut], before=3) + counts.count(tokens[cut:], before=tokens[cut - 1] if cut else 3)
    assert parts == counts.count(tokens, before=3), "a row may be counted in pieces"


def test_an_artifact_weighs_what_is_pushed():
    assert artifact_bytes({"golf.py": b"abc", "weights/w.bin": bytes(10)}) == 13


@pytest.mark.parametrize("arguments", [(-1.0, 1, 1), (math.nan, 1, 1), (math.inf, 1, 1), (1.0, 0, 1), (1.0, 1, 0)])
def test_what_has_no_bits_per_byte_is_refused(arguments):
    with pytest.raises(BadInput):
        bits_per_byte(*arguments)
    with pytest.raises(BadInput):
        bits_of_code(1, 0)


def test_no_document_lies_in_two_parts_and_the_text_is_real(golf):
    files = text_files()
    assert files == text_files(), "the same machine collects the same text"
    pools = [set(map(str, json.loads(files[p]))) for p in ("sealed/pool.json", "holdout/pool.json")]
    train = files["public/train.txt"].decode()
    assert not pools[0] & pools[1] and not [d for pool in pools for d in pool if d in train]
    assert min(len(pool) for pool in pools) > 50 and train.count("Parameters") > 20
    assert "train.txt" not in golf.fixed and "train.txt" in golf.below("public")


def test_a_text_kept_as_it_is_costs_exactly_eight(play):
    assert play(STORE).value == 8.0


def test_the_baseline_of_golf_is_better_than_that_and_far_from_what_zlib_does(bench, golf):
    result = bench.measure_files(golf.digest, golf.baseline)
    assert 4.0 < result.value < 5.5 and len(result.values) == 3
    zlib = STORE.replace("import sys", "import sys, zlib").replace("open(\"inputs/text\", \"rb\").read()",
        "zlib.compress(open('inputs/text', 'rb').read(), 9)").replace("open(\"inputs/predictions\", \"rb\").read()",
        "zlib.decompress(open('inputs/predictions', 'rb').read())")  # fmt: skip
    assert bench.measure_files(golf.digest, {"golf.py": zlib.encode()}).value < result.value - 0.7


def test_the_baseline_tuned_is_far_better_than_zlib_and_still_fits(bench, golf):
    point = json.loads(golf.baseline["params.json"]) | TUNED
    tuned = golf.baseline | {"params.json": json.dumps(point).encode()}
    assert artifact_bytes(tuned) < golf.budget.artifact_bytes - 2000, "room for better weights"
    assert bench.measure_files(golf.digest, tuned, seeds=golf.seeds[:1]).value < 2.7


def test_what_any_point_of_the_space_encodes_it_decodes_again(golf, tmp_path, monkeypatch):
    for path, data in golf.baseline.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import golf as coder

    space, rng = read_space(golf.below("public")["space.json"]), Random(7)
    whole = golf.below("public")["train.txt"]
    for number in range(8):
        point = space.draw(rng) | {"prime": number * 20}
        (tmp_path / "params.json").write_bytes(space.write(point))
        start = rng.randrange(len(whole) - 120)
        text = [b"", bytes(range(256)), whole[start : start + 120]][min(number, 2)]
        assert coder.decode(coder.encode(text)) == text, point


def test_the_primer_is_passages_of_the_training_text_that_are_typical_of_it():
    train = text_files()["public/train.txt"]
    primer = lzma.decompress(text_files()["public/weights/primer.lzma"])
    assert primer == choose_typical(train, len(primer)) and len(primer) == 12000
    lines = set(train.splitlines())
    assert all(line in lines for line in primer.splitlines()[:-1]), "the last line may be cut"
    assert choose_typical(b"", 10) == b""
    unseen = json.loads(text_files()["sealed/pool.json"])
    packed = {
        known: sum(pack_after(known, text.encode()) for text in unseen[:100]) for known in (primer, train[:12000])
    }
    assert packed[primer] < 0.99 * packed[train[:12000]], "worth more than as much of the text itself"


def pack_after(known, text):
    packer = zlib.compressobj(9, zdict=known)
    return len(packer.compress(text) + packer.flush())


TEXT = "open('inputs/text', 'rb').read()"
CODE = "open('inputs/predictions', 'rb').read()"
CHEAT = """
import sys
if sys.argv[1] == "encode":
    open("code.bin", "wb").write({code})
    {hide}
else:
    open("decoded.txt", "wb").write({find})
"""
CHEATS = {
    "the decoder asks for the text": ("b'1'", "", TEXT, "exit 1"),
    "the text lies in /tmp": ("b'1'", f"open('/tmp/x', 'wb').write({TEXT})", "open('/tmp/x', 'rb').read()", "exit 1"),
    "the text lies in /dev/shm": (
        "b'1'", f"open('/dev/shm/x', 'wb').write({TEXT})", "open('/dev/shm/x', 'rb').read()", "exit 1",
    ),
    "the text lies beside the code": ("b'1'", f"open('x', 'wb').write({TEXT})", "open('x', 'rb').read()", "exit 1"),
    "the text is a link beside the code": (
        "b'1'", "import os; os.link('inputs/text', 'golf.txt')", "open('golf.txt', 'rb').read()", "exit 1",
    ),
    "the encoder writes itself anew": ("b'1'", f"open('golf.py', 'wb').write({TEXT})", "b'1'", "from byte 0 on"),
    "the training text is asked for": ("b'1'", "", "open('train.txt', 'rb').read()[:4000]", "exit 1"),
    "the code is nothing": ("b''", "", "b'x'", "are empty: code.bin"),
    "the text is nothing": ("b'1'", "", "b''", "are empty: decoded.txt"),
    "the last byte is missing": (TEXT, "", CODE + "[:-1]", "from byte 3999 on"),
    "a byte is too many": (TEXT, "", CODE + " + b'x'", "from byte 4000 on"),
    "the code is longer than twice the text": (TEXT + " * 3", "", CODE + "[:4000]", "longer than twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHEATS)
def test_a_code_from_which_the_text_is_not_restored_counts_for_nothing(play, name):
    code, hide, find, why = CHEATS[name]
    result = play(CHEAT.format(code=code, hide=hide, find=find))
    assert result.value is None and why in result.why, (result.why, result.seeds[0].log)


def test_what_the_cheats_hide_would_be_worth_a_lot(play):
    assert play(CHEAT.format(code=TEXT, hide="", find=CODE)).value == 8.0, "the frame of the cheats works"


def test_weights_count_towards_the_size_of_the_artifact(bench, golf, tmp_path):
    from hive.forge import commit_files, make_repository

    repository = make_repository(tmp_path / "fork.git")
    own = {path: golf.baseline[path].decode() for path in ("golf.py", "params.json")}
    room = 16384 - artifact_bytes(golf.baseline | {"weights/primer.lzma": b""})
    full = commit_files(repository, own | {"weights/w.bin": "w" * room})
    over = commit_files(repository, own | {"weights/w.bin": "w" * (room + 1)})
    assert bench.measure(golf.digest, repository, full, seeds=golf.seeds[:1]).value
    assert "too large: more than" in bench.measure(golf.digest, repository, over, seeds=golf.seeds[:1]).why
