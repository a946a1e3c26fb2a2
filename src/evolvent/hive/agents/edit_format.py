"""Reads a model's reply as a change of files: blocks to search and replace, or a whole file. All of it or nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from evolvent.errors import BadInput
from evolvent.hive.agents.words import one_line
from evolvent.hive.paths import complain, lies_in

FORM = """\
IDEA: one line that says what you try
FILE: {path}
<<<<<<< SEARCH
lines of the file as they stand now, enough of them to be found once
=======
lines to put there instead
>>>>>>> REPLACE

Any number of blocks may follow, each with its own SEARCH and REPLACE. To write a file anew, put it whole between
lines of three backticks after its FILE line, with no SEARCH."""

MAX_IDEA = 80
_FILE = re.compile(r"^\W*FILE\W*:\s*(?P<path>.+?)\s*$", re.IGNORECASE)
_IDEA = re.compile(r"^\W*IDEA\W*:\s*(?P<idea>.+?)\s*$", re.IGNORECASE)
_SEARCH, _MIDDLE, _REPLACE = (
    re.compile(pattern) for pattern in (r"^<{5,9} ?SEARCH\s*$", r"^={5,9}\s*$", r"^>{5,9} ?REPLACE\s*$")
)
_FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})[^`]*$")


@dataclass(frozen=True)
class Room:
    """What an edit may touch: the paths, and how large and how many the files may be."""

    mutable: tuple[str, ...]
    max_bytes: int
    max_files: int


@dataclass(frozen=True)
class Edit:
    """What is tried, and the new contents of the files that it changes."""

    idea: str
    files: Mapping[str, str]


def read_edit(reply: str, files: Mapping[str, str], room: Room) -> Edit:
    """The edit in a reply, carried out on these files; BadInput says in words for the model why there is none."""
    lines = reply.replace("\r\n", "\n").split("\n")
    ideas = [found["idea"] for line, is_own in _tell_own(lines) if is_own and (found := _IDEA.match(line))]
    new = dict(files)
    sections = _sections(lines, _only(files, room))
    if not sections:
        raise BadInput("the reply changes nothing", got=one_line(reply, 200) or "nothing", wanted=_form(files))
    for path, body in sections:
        _check_path(path, room)
        new[path] = _change(path, body, new.get(path))
    changed = {path: text for path, text in new.items() if text != files.get(path)}
    if not changed:
        raise BadInput("the files are as they were", wanted="at least one line that differs")
    _check_size(new, room)
    return Edit(one_line(ideas[0], MAX_IDEA) if ideas else "an edit without a word", changed)


# ---------------------------------------------------------------- the parts of a reply


def _sections(lines: Sequence[str], only: str | None) -> list[tuple[str, list[str]]]:
    """Each file that is named, with the lines up to the next one; blocks without a name are of the only file."""
    found: list[tuple[str, list[str]]] = []
    rest: list[str] = []
    for line, is_own in _tell_own(lines):
        named = _FILE.match(line) if is_own else None
        if named:
            found.append((named["path"].strip("`*'\" "), []))
        else:
            (found[-1][1] if found else rest).append(line)
    if not found and only is not None and any(_SEARCH.match(line) or _FENCE.match(line) for line in rest):
        return [(only, rest)]
    return found


def _tell_own(lines: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is the reply's own: in no block, and in no fence that may hold a whole file."""
    in_block = is_named = False
    is_watched, fence = True, ""  # the first fence after a FILE line, unless blocks come before it or in it
    for number, line in enumerate(lines):
        in_block = bool(_SEARCH.match(line)) or (in_block and not _REPLACE.match(line))
        is_watched = is_watched and not in_block
        is_own = not in_block and not fence
        yield line, is_own
        if is_own and _FILE.match(line):
            is_named = is_watched = True
        elif fence and line.rstrip() == fence:  # a file may hold fences itself: from here on FILE lines count again
            fence, is_watched = "", not is_named
        elif is_watched and not fence and (found := _FENCE.match(line)):
            fence = found["fence"] if _holds_file(lines[number + 1 :], found["fence"], is_named) else ""


def _holds_file(below: Sequence[str], fence: str, is_named: bool) -> bool:
    """Whether a fence is around text; it may be around blocks or, where no FILE line came before, a whole reply."""
    inside = [line for line in takewhile(lambda line: line.rstrip() != fence, below) if line.strip()]
    is_reply = not is_named and any(_FILE.match(one) and _FENCE.match(two) for one, two in pairwise(inside))
    return not is_reply and not any(map(_SEARCH.match, inside))


def _change(path: str, body: Sequence[str], text: str | None) -> str:
    blocks = _blocks(path, body)
    if not blocks:
        return _whole_file(path, body)
    for old, new in blocks:
        text = _replace(path, text, old, new)
    assert text is not None
    return text


def _blocks(path: str, body: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Pairs of the lines to search and the lines to put there: none takes away, and one empty line is a line."""
    blocks: list[tuple[list[str], list[str]]] = []
    parts: list[list[str]] = []  # none outside of a block, then one, then two
    for line in body:
        if not parts:
            if _SEARCH.match(line):
                parts = [[]]
            elif _REPLACE.match(line):
                raise BadInput("a REPLACE has no SEARCH before it", where=path, wanted=_marks())
        elif len(parts) == 1 and _MIDDLE.match(line):
            parts.append([])
        elif len(parts) == 2 and _REPLACE.match(line):
            blocks.append((parts[0], parts[1]))
            parts = []
        elif _SEARCH.match(line) or _REPLACE.match(line):
            raise BadInput("the marks of a block are out of order", where=path, got=line, wanted=_marks())
        else:
            parts[-1].append(line)
    if parts:
        raise BadInput("the last block has no end", where=path, wanted=_marks())
    return blocks


def _whole_file(path: str, body: Sequence[str]) -> str:
    """What stands between the first fence and the last one like it."""
    start = next((number for number, line in enumerate(body) if _FENCE.match(line)), None)
    if start is None:
        raise BadInput("this file has neither a SEARCH block nor a fence", where=path, wanted=_marks())
    found = _FENCE.match(body[start])
    assert found is not None
    ends = [number for number, line in enumerate(body) if number > start and line.rstrip() == found["fence"]]
    if not ends:
        raise BadInput("the whole file has no end: it may have been cut off", where=path, wanted=found["fence"])
    return "\n".join(body[start + 1 : ends[-1]]) + "\n"


# ---------------------------------------------------------------- one block


def _replace(path: str, text: str | None, old: Sequence[str], new: Sequence[str]) -> str:
    sought = next((line for line in old if line.strip()), None)
    if text is None:
        if sought is not None:
            raise BadInput("there is no such file to search in", where=path, wanted="an empty SEARCH makes a new file")
        return _ended("\n".join(new))
    if sought is None:
        raise BadInput("an empty SEARCH stands everywhere", where=path, wanted="some lines of the file")
    lines, got = text.split("\n"), one_line("\n".join(old), 200)
    for trim in (_as_it_is, str.rstrip):  # models drop the blanks at the end of a line
        places = _places([trim(line) for line in lines], [trim(line) for line in old])
        if len(places) == 1:
            return "\n".join([*lines[: places[0]], *new, *lines[places[0] + len(old) :]])
        if places:
            raise BadInput(
                f"the SEARCH text stands in the file {len(places)} times", where=path, got=got,
                wanted="more lines around it, so that it is found once",
            )  # fmt: skip
    close = difflib.get_close_matches(sought, lines, n=1, cutoff=0.4)
    wanted = f"lines as they stand there, such as: {close[0]}" if close else "lines as they stand there"
    raise BadInput("the SEARCH text is not in the file", where=path, got=got, wanted=wanted)


def _places(lines: Sequence[str], sought: Sequence[str]) -> list[int]:
    width = len(sought)
    return [at for at in range(len(lines) - width + 1) if list(lines[at : at + width]) == list(sought)]


def _as_it_is(line: str) -> str:
    return line


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


# ---------------------------------------------------------------- what may not be


def _check_path(path: str, room: Room) -> None:
    trouble = complain(path) or ("" if lies_in(path, room.mutable) else "may not be changed")
    if trouble:
        wanted = ", ".join(room.mutable)
        raise BadInput(f"this path {trouble}", where="FILE", got=ascii(path)[:100], wanted=wanted)


def _check_size(files: Mapping[str, str], room: Room) -> None:
    try:
        size = sum(len(text.encode()) for text in files.values())
    except UnicodeEncodeError as error:
        raise BadInput("the text is no Unicode", got=str(error)[:100]) from error
    if size > room.max_bytes or len(files) > room.max_files:
        got, wanted = f"{len(files)} files, {size} bytes", f"at most {room.max_files} files, {room.max_bytes} bytes"
        raise BadInput("the artifact has become too large", got=got, wanted=wanted)


def _only(files: Mapping[str, str], room: Room) -> str | None:
    names = list(files) or list(room.mutable)
    return names[0] if len(names) == 1 else None


def _form(files: Mapping[str, str]) -> str:
    return "an edit in this form:\n" + FORM.format(path=next(iter(files), "PATH"))


def _marks() -> str:
    return "<<<<<<< SEARCH, the old lines, =======, the new lines, >>>>>>> REPLACE"
