"""Text of tokens as they come, and rows that end at words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.models.tokenizer import build_tokenizer
from evolvent.policies.policy import Step
from evolvent.policies.transcript import Stops, Transcript, first_stop, renumbered
from evolvent.records import Prompt

TEXTS = ["the cat sat on the mat", "héllo wörld ñ", "日本語 text 🙂 more"]
BYTES = build_tokenizer()
MERGED = build_tokenizer(400, TEXTS * 20)


def text_of(tokenizer):
    return lambda ids: tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("tokenizer", [BYTES, MERGED], ids=["bytes", "merges"])
@given(ids=st.lists(st.integers(0, 264), max_size=30))
@settings(max_examples=150, deadline=None)
def test_pieces_make_up_the_text_of_the_whole_even_where_it_is_no_text(tokenizer, ids):
    transcript = Transcript(text_of(tokenizer))
    pieces = [transcript.add(token) for token in ids]
    assert "".join(pieces) + transcript.rest() == text_of(tokenizer)(ids)


@given(words=st.text(max_size=12))
@settings(max_examples=80, deadline=None)
def test_a_character_comes_out_whole_with_its_last_byte(words):
    transcript = Transcript(text_of(BYTES))
    clean = words.encode("utf-8", "replace").decode()
    for letter in clean:
        pieces = [transcript.add(byte) for byte in letter.encode()]
        assert pieces == [""] * (len(pieces) - 1) + [letter] or "\ufffd" in clean
    assert not transcript.rest() or "\ufffd" in clean


def test_many_broken_bytes_do_not_pile_up():
    asked = []

    def text(ids):
        asked.append(len(ids))
        return text_of(BYTES)(ids)

    transcript = Transcript(text)
    said = "".join(transcript.add(0xFF) for _ in range(500)) + transcript.rest()
    assert said == "\ufffd" * 500 and max(asked) < 80


def drawn(tokens_of_rows, watch):
    """Feeds rows to a watch in step, and says after how many tokens each ended."""
    ends, live = {}, dict(tokens_of_rows)
    for t in range(max(map(len, tokens_of_rows.values()))):
        rows = [r for r in live if t < len(live[r])]
        over = watch(Step(rows, [live[r][t] for r in rows], [0.0] * len(rows), [0.0] * len(rows), None))
        for row in set(over) & set(rows):
            ends[row] = t + 1
            del live[row]
    return ends


@given(
    text=st.text("ab\n€", min_size=1, max_size=30), stops=st.lists(st.text("ab\n€", min_size=1, max_size=4), max_size=3)
)
@settings(max_examples=150, deadline=None)
def test_a_row_ends_with_the_token_that_completes_its_first_stop_string(text, stops):
    ids = list(text.encode())
    ends = drawn({0: ids}, Stops([Prompt((), stops=tuple(stops))], text_of(BYTES)))
    by_hand = next((n for n in range(1, len(ids) + 1) if any(s.encode() in bytes(ids[:n]) for s in stops)), None)
    assert ends.get(0) == by_hand


def test_rows_without_stop_strings_go_on_and_a_watch_behind_hears_every_step():
    heard = []

    def watch(step):
        heard.append(step.rows)
        return {2} if len(heard) == 2 else ()

    prompts = [Prompt((), stops=("b",)), Prompt(()), Prompt((), stops=("z",))]
    stops = Stops(prompts, text_of(BYTES), watch)
    assert drawn({r: list(b"abcd") for r in range(3)}, stops) == {0: 2, 2: 2}
    assert heard == [[0, 1, 2], [0, 1, 2], [1], [1]] and stops.found == {0}


def test_the_earliest_stop_string_is_where_the_text_is_cut():
    # "ab|cd|": "|" stands at 2, "cd" at 3, "x" nowhere
    assert first_stop("ab|cd|", ("cd", "|", "x")) == 2
    assert first_stop("abc", ("x",)) == 3 and first_stop("abc", ()) == 3


def test_a_watch_of_a_later_slice_hears_the_numbers_of_the_whole_call():
    def watch(step):
        assert step.rows == [1024, 1030]
        return {1030}

    assert renumbered(watch, 1024)(Step([0, 6], [1, 2], [0.0] * 2, [0.0] * 2, None)) == {6}
