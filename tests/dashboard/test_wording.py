from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evolvent.dashboard.wording import after_title, age, counted, cut, line, status_of, visible

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_characters_that_hide_or_turn_text_are_shown_by_number():
    assert visible("pay\u202eexe") == "pay\u27e8U+202E\u27e9exe"
    assert visible("a\u200bb\ufeff") == "a\u27e8U+200B\u27e9b\u27e8U+FEFF\u27e9"
    assert visible("\x1b[31m\r\n\t\x00") == "\u241b[31m\n\t\u2400"
    assert visible("tag\U000e0041") == "tag\u27e8U+E0041\u27e9"
    assert visible("half \ud800") == "half \ufffd", "half a character cannot be sent"


def test_scripts_and_emoji_that_need_joiners_keep_them():
    assert visible("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f52c") == (
        "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f52c"
    )


@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_a_visible_page_can_always_be_sent(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert visible(shown) == shown


@given(st.text(max_size=400), st.integers(1, 60))
def test_a_line_is_one_line_and_no_longer_than_asked(text, num):
    assert len(line(text, num)) <= num + 1 and "\n" not in line(text, num)
    assert len(cut(text, num)) <= num


def test_ages_are_told_in_the_unit_that_fits():
    ages = {2: "now", 40: "40 s ago", 130: "2 min ago", 7300: "2 h ago", 3 * 86400: "3 d ago", 40 * 86400: "2026-03-22"}
    for seconds, words in ages.items():
        assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == words
    assert age((NOW + timedelta(seconds=600)).isoformat(), NOW) == "in 10 min"
    assert age(None, NOW) == age("yesterday", NOW) == "\u2013"


def test_a_state_is_told_in_a_word():
    assert status_of({"verification_status": "success", "valid": True, "is_kept": True})[0] == "kept"
    assert status_of({"verification_status": "success", "valid": True, "is_kept": False})[0] == "not kept"
    assert status_of({"verification_status": "success", "valid": True, "is_kept": None})[0] == "official"
    assert status_of({"verification_status": "success", "valid": False, "is_kept": True})[0] == "called off"
    assert status_of({"verification_status": "failed", "valid": True})[0] == "invalid"
    assert status_of({"verification_status": "brand-new"})[0] == "brand-new"


def test_counts_agree_with_their_noun():
    assert [counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_title_is_not_said_twice():
    assert after_title("sort first\n\nIt helps.", "sort first") == "It helps."
    assert after_title("sort first", "sort first") == ""
    assert after_title("sorted bins", "sort") == "sorted bins", "half a word is no title"
    assert after_title("words", "") == "words"
