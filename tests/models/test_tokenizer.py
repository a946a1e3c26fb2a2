import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.models import build_tokenizer
from evolvent.models.tokenizer import CHAT_TEMPLATE, MARKS

TEXTS = ["12+34*5=182", "the cat sat on the mat", "käse und größe", "x = x + 1\n\n"] * 20
BYTES, LEARNED = build_tokenizer(), build_tokenizer(300, TEXTS)
# all of Unicode but surrogates, which no text on a wire can hold; marks have ids of their own and come back as well
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("tokenizer", [BYTES, LEARNED], ids=["bytes", "learned"])
@given(text=st.one_of(PLAIN, st.lists(st.sampled_from([*MARKS, " ", "\n", "\r\n", "a"])).map("".join)))
@settings(max_examples=150, deadline=None)
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


def test_bytes_are_their_own_ids():
    text = "aß漢🙂\x00"
    assert BYTES.encode(text, add_special_tokens=False) == list(text.encode())
    assert len(BYTES) == 256 + len(MARKS)


def test_a_vocabulary_is_learned_from_the_texts_that_are_given_and_from_nothing_else():
    again = build_tokenizer(300, TEXTS)
    other = build_tokenizer(300, ["zzzz qqqq"] * 20)
    assert again.get_vocab() == LEARNED.get_vocab()
    assert "the" in {k.strip("Ġ") for k in LEARNED.get_vocab()}
    assert "the" not in {k.strip("Ġ") for k in other.get_vocab()}
    assert len(build_tokenizer(600, [])) == 256 + len(MARKS)  # nothing given, nothing learned


def test_digits_stay_single_whatever_was_seen():
    trained = build_tokenizer(400, ["123456 123456 123456"] * 50)
    assert len(trained.encode("123456", add_special_tokens=False)) == 6


def test_learned_marks_are_single_tokens():
    for mark in MARKS:
        assert len(LEARNED.encode(mark, add_special_tokens=False)) == 1


def test_a_vocabulary_too_small_for_bytes_and_marks_is_refused():
    with pytest.raises(BadInput, match=r"model\.vocab_size"):
        build_tokenizer(100, TEXTS)


@pytest.mark.parametrize("tokenizer", [BYTES, LEARNED], ids=["bytes", "learned"])
def test_plain_transformers_loads_it_with_its_template(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template == CHAT_TEMPLATE
    assert (loaded.eos_token, loaded.pad_token) == ("<|end|>", "<|pad|>")
    text = "größe<|call|>1+2 <|end_call|>\n\n🙂"
    assert loaded.encode(text, add_special_tokens=False) == tokenizer.encode(text, add_special_tokens=False)
    assert loaded.vocab_size == tokenizer.vocab_size
