import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.agents.edit_format import FORM, Room, read_edit

FILES = {"solve.py": "import sys\n\ndef f(x):\n    return x\n\ndef g(x):\n    return x\n"}
ROOM = Room(("solve.py", "lib"), max_bytes=2000, max_files=4)


def block(old, new, path="solve.py"):
    return f"FILE: {path}\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


def read(reply, files=FILES, room=ROOM):
    return read_edit(reply, files, room)


def test_a_block_replaces_the_lines_that_it_names():
    edit = read("Some thoughts.\nIDEA: double it\n" + block("def f(x):\n    return x", "def f(x):\n    return 2 * x"))
    assert edit.idea == "double it"
    assert edit.files == {"solve.py": "import sys\n\ndef f(x):\n    return 2 * x\n\ndef g(x):\n    return x\n"}


def test_the_form_that_a_model_is_shown_can_itself_be_read():
    files = {"solve.py": "lines of the file as they stand now, enough of them to be found once\n"}
    edit = read(FORM.format(path="solve.py"), files)
    assert edit.files == {"solve.py": "lines to put there instead\n"}


def test_several_blocks_are_carried_out_one_after_the_other_and_only_together():
    good = block("import sys", "import os") + "<<<<<<< SEARCH\nimport os\n=======\nimport re\n>>>>>>> REPLACE\n"
    assert read(good).files["solve.py"].startswith("import re\n")
    with pytest.raises(BadInput, match="not in the file"):
        read(good + block("no such line", "x"))


def test_a_whole_file_stands_between_fences_even_where_it_holds_fences_itself():
    text = 'print("""\n```\n""")\n'
    assert read(f"FILE: lib/new.py\n```python\n{text}```\nThat is all.").files == {"lib/new.py": text}


def test_a_file_without_a_name_is_the_only_one_there_is():
    assert read("```python\nprint(1)\n```").files == {"solve.py": "print(1)\n"}
    assert read(block("import sys", "import os").partition("\n")[2]).files["solve.py"].startswith("import os")
    with pytest.raises(BadInput, match="changes nothing"):
        read("```python\nprint(1)\n```", FILES | {"lib/a.py": ""})


def test_blanks_at_the_end_of_lines_are_forgiven():
    files = {"solve.py": "a = 1  \nb = 2\n"}
    assert read(block("a = 1", "a = 3"), files).files == {"solve.py": "a = 3\nb = 2\n"}


def test_lines_can_be_taken_away_and_names_may_be_decorated():
    assert read("**FILE:** `solve.py`\n<<<<<<< SEARCH\nimport sys\n=======\n>>>>>>> REPLACE").files == {
        "solve.py": FILES["solve.py"].removeprefix("import sys\n")
    }


def test_one_empty_line_in_place_of_others_is_a_line():
    files = {"solve.py": "a\nb\n"}
    assert read(block("a", ""), files).files == {"solve.py": "\nb\n"}
    assert read(block("a", "").replace("\n\n", "\n"), files).files == {"solve.py": "b\n"}


def test_a_file_line_inside_of_a_block_is_text():
    assert "FILE: other" in read(block("import sys", "# FILE: other")).files["solve.py"]


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("I would sort the items.", "changes nothing"),
        ("", "changes nothing"),
        (block("    return x", "    return 1"), "2 times"),
        (block("", "x"), "stands everywhere"),
        (block("import sys", "import sys"), "as they were"),
        (block("x", "y", "eval/check.py"), "may not be changed"),
        (block("", "y", "../solve.py"), "leads out"),
        (block("", "y", "/etc/passwd"), "absolute"),
        (block("", "y", "lib/.git/hooks/x"), "belongs to git"),
        (block("old", "y", "lib/none.py"), "no such file"),
        (block("import sys", "#" * 3000), "too large"),
        (block("import sys", "\ud800"), "no Unicode"),
        ("".join(block("", "y", f"lib/{i}.py") for i in range(5)), "too large"),
        ("FILE: solve.py\n<<<<<<< SEARCH\nimport sys\n=======\nimport os\n", "no end"),
        ("FILE: solve.py\n<<<<<<< SEARCH\nimport sys\n>>>>>>> REPLACE\n", "out of order"),
        ("FILE: solve.py\n```python\nprint(1)\n", "cut off"),
        ("FILE: solve.py\nprint(1)\n", "neither"),
        (">>>>>>> REPLACE\nFILE: solve.py\n>>>>>>> REPLACE", "no SEARCH before"),
    ],
)
def test_what_is_no_edit_is_refused_in_words_for_the_model(reply, complaint):
    with pytest.raises(BadInput, match=complaint):
        read(reply)


PIECES = st.sampled_from(
    [
        "FILE: solve.py",
        "FILE: ../x",
        "<<<<<<< SEARCH",
        "=======",
        ">>>>>>> REPLACE",
        "```",
        "import sys",
        "",
        "x",
        "IDEA: y",
    ]
)


@given(st.lists(PIECES, max_size=14) | st.text(max_size=200))
def test_any_reply_is_an_edit_of_what_may_be_changed_or_a_refusal(reply):
    text = reply if isinstance(reply, str) else "\n".join(reply)
    try:
        edit = read(text)
    except BadInput:
        return
    assert edit.files
    assert all(path == "solve.py" or path.startswith("lib/") for path in edit.files)
    assert not edit.files.items() & FILES.items()


LINES = st.lists(st.sampled_from(["a", "b", "  c", "", "d = 1"]), min_size=1, max_size=8)


@given(LINES, LINES, st.integers(0, 7), st.integers(1, 8))
def test_a_block_changes_its_lines_and_no_others(lines, new, start, width):
    old = lines[start : start + width]
    text = "\n".join(lines) + "\n"
    try:
        edit = read(block("\n".join(old), "\n".join(new)), {"solve.py": text})
    except BadInput:
        return
    places = [i for i in range(len(lines)) if lines[i : i + len(old)] == old]
    assert len(places) == 1
    wanted = [*lines[: places[0]], *new, *lines[places[0] + len(old) :]]
    assert edit.files["solve.py"] == "\n".join(wanted) + "\n"
