"""Runs code in a process that is already fenced in: a script, a command, or the cells of a session."""

from __future__ import annotations

import atexit
import io
import json
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn

SCRIPT = "main.py"
NOT_FOUND, NOT_RUN = 127, 126  # as a shell says it


def run_script(code: bytes) -> NoReturn:
    """Run Python source as `python main.py` does, and end this process as that ends."""
    space = _fresh_main()
    status = _executed(code, space)
    for end in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]
        with suppress(BaseException):
            end()
    _flush()
    os._exit(status)


def run_command(words: Sequence[bytes]) -> NoReturn:
    """Become a command."""
    try:
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, b"%s: %s\n" % (words[0], (error.strerror or "").encode()))
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN)


def serve_cells(cells: int, done: int) -> NoReturn:
    """Run cell after cell in one name space; after each say its token and its status.

    Code in this process can say so itself: what it says is about nothing but its own session.
    """
    space = _fresh_main()
    source = os.fdopen(cells, "rb")
    while line := source.readline():
        cell = json.loads(line)
        code, stdin = (source.read(num) for num in cell["sizes"])
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
        status = _executed(code, space)
        _flush()
        os.write(done, b"%s %d\n" % (cell["token"].encode(), status))
    os._exit(0)


def _fresh_main() -> dict[str, Any]:
    """A `__main__` that knows nothing of this project, and streams that are this process's own."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "evolvent"]:
        del sys.modules[name]
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=__builtins__, __file__=SCRIPT)
    sys.modules["__main__"], sys.argv = main, [SCRIPT]
    sys.path[:0] = [""] if "" not in sys.path else []
    atexit._clear()  # type: ignore[attr-defined]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115, PTH123
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115, PTH123
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115, PTH123
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    return main.__dict__


def _executed(code: bytes, space: dict[str, Any]) -> int:
    """The exit status of Python source: its own, or 1 with a traceback."""
    try:
        exec(compile(code, SCRIPT, "exec"), space)
    except SystemExit as error:
        return _status(error.code)
    except BaseException as error:
        _show(error, code)
        return 1
    return 0


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return int(code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _show(error: BaseException, code: bytes) -> None:
    """The traceback without our own frame, with the lines of the script."""
    import linecache

    with suppress(BaseException):
        text = code.decode("utf-8", "replace")
        linecache.cache[SCRIPT] = (len(text), None, text.splitlines(keepends=True), SCRIPT)
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, trace)


def _flush() -> None:
    """What the code left of its streams; it may have put anything in their place."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
