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


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
@pytest.mark.parametrize("line", ["# file: notes", "FILE: str = 'x'", "FILE: lib/b.py", "# IDEA: none"])
def test_a_line_like_file_or_idea_inside_of_a_fence_is_text(fence, line):
    body, more = f"{fence}python\n{line}\nprint(1)\n{fence}\n", f"FILE: lib/c.py\n{fence}\nx\n{fence}\n"
    text = f"{line}\nprint(1)\n"
    edit = read(f"FILE: lib/a.py\n{body}{more}IDEA: it prints\n")
    assert edit.files == {"lib/a.py": text, "lib/c.py": "x\n"} and edit.idea == "it prints"
    assert read(f"IDEA: it prints\n{body}").files == {"solve.py": text}, "the only file needs no name"
    assert read(f"It is now:\n{body}IDEA: it prints\n{more}") == read(f"IDEA: it prints\n{more}")


def test_an_idea_inside_of_a_block_is_text():
    assert read(block("import sys", "# idea: none") + "IDEA: a comment").idea == "a comment"


@pytest.mark.parametrize("fence", ["```", "````", "~~~"])
def test_a_fence_around_blocks_or_a_whole_reply_hides_no_file(fence):
    files = {"solve.py": "a\n", "lib/b.py": "b\n"}
    one, other = block("a", "1"), block("b", "2", "lib/b.py")
    wanted = {"solve.py": "1\n", "lib/b.py": "2\n"}
    path, _, marks = one.partition("\n")
    for reply in (
        f"{fence}\nIDEA: y\n{one}{other}{fence}",
        f"{fence}\nIDEA: y\n{one}{fence}\n\n{fence}python\n{other}{fence}",
        f"IDEA: y\n{path}\n{fence}\n{marks}{other}{fence}",
        f"IDEA: y\n{path}\n{fence}\n{marks}{fence}\n{other}",
    ):
        assert (read(reply, files).files, read(reply, files).idea) == (wanted, "y"), reply
    whole = f"{fence}`\nIDEA: y\nFILE: lib/b.py\n{fence}python\n# file: x\n{fence}\n{fence}`\n"
    if fence != "~~~":
        assert read(whole, files).files == {"lib/b.py": "# file: x\n"} and read(whole, files).idea == "y"


def test_a_file_whose_fence_is_not_closed_was_cut_off_whatever_it_names():
    with pytest.raises(BadInput, match="cut off"):
        read("FILE: solve.py\n```python\nprint(1)\n# file: notes\nprint(2)\n")


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


CODE = st.lists(st.sampled_from(["x = 1", "", "# file: notes", "FILE: lib/b.py", "IDEA: z", "======="]), max_size=6)


@given(CODE, CODE, st.sampled_from(["```", "~~~", "`````"]))
def test_whole_files_without_fences_and_marks_come_back_as_they_are(one, other, fence):
    texts = {f"lib/{name}.py": "\n".join(lines) + "\n" for name, lines in zip("ac", (one, other), strict=True)}
    edit = read("".join(f"FILE: {path}\n{fence}python\n{text}{fence}\n" for path, text in texts.items()))
    assert edit.files == texts and edit.idea == "an edit without a word"


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
