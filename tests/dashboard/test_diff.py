from hypothesis import given
from hypothesis import strategies as st

from evolvent.dashboard.diff import MAX_EDITS, MAX_ROWS, compare_files, edits

LINES = st.lists(st.sampled_from("abcd"), max_size=30)


@given(LINES, LINES)
def test_a_diff_has_both_sides_in_it(old, new):
    rows = edits(old, new)
    assert [row.text for row in rows if row.sign != "+"] == old
    assert [row.text for row in rows if row.sign != "-"] == new
    assert [row.old for row in rows if row.old] == list(range(1, len(old) + 1))
    assert [row.new for row in rows if row.new] == list(range(1, len(new) + 1))


@given(LINES, st.integers(0, 29))
def test_one_line_out_is_one_row(lines, place):
    less = lines[:place] + lines[place + 1 :]
    assert sum(row.sign != " " for row in edits(lines, less)) == len(lines) - len(less)


def test_a_diff_worked_by_hand():
    # the classic of Myers 1986: abcabba to cbabac takes five edits
    assert sum(row.sign != " " for row in edits("abcabba", "cbabac")) == 5


def test_unchanged_lines_far_from_a_change_are_left_out():
    old = [str(i) for i in range(100)]
    new = [*old[:50], "x", *old[51:]]
    [file] = compare_files({"a.py": "\n".join(old).encode()}, {"a.py": "\n".join(new).encode()})
    assert [row.sign for row in file.rows] == ["@", *"   -+   "], "three lines on both sides"
    assert file.rows[0].text == "47" and (file.num_added, file.num_removed) == (1, 1)


def test_files_that_came_went_or_are_no_text_say_so():
    found = {
        f.path: f
        for f in compare_files({"gone": b"x", "same": b"s", "bin": b"\0a"}, {"new": b"y", "same": b"s", "bin": b"\0b"})
    }
    assert set(found) == {"gone", "new", "bin"}
    assert found["gone"].note == "removed" and found["new"].note == "new file" and "no text" in found["bin"].note
    assert "no text" in compare_files({"a": b"\xff"}, {"a": b"\xfe"})[0].note
    assert compare_files({"a": b"x"}, {"a": b"x\n"})[0].note == "only line ends differ"


def test_files_made_to_be_slow_are_answered_coarsely():
    ones, others = ["a", "b"] * 4000, ["b", "b", "a"] * 2600
    rows = edits(ones, others)
    assert sum(row.sign == "-" for row in rows) > MAX_EDITS, "all out, all in: the search was given up"
    [large] = compare_files({"a": b"x\n" * 200_000}, {"a": b"y\n"})
    assert "too large" in large.note and not large.rows
    [long] = compare_files({"a": b""}, {"a": b"x\n" * 5000})
    assert len(long.rows) == MAX_ROWS and "first 1,500 of 5,000 lines" in long.note
