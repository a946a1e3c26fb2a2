"""Runs code in a process that is already fenced in: a script, a command, or the cells of a session."""

from __future__ import annotations

import ast
import atexit
import io
import json
import os
import sys
import threading
import traceback
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn

NOT_FOUND, NOT_RUN = 127, 126  # as a shell says it


def run_script(code: bytes) -> NoReturn:
    """Run Python source as `python FILE` does, and end this process as that ends."""
    space = _fresh_main("<code>")
    status = _executed(code, "<code>", space)
    for end in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]
        with suppress(BaseException):
            end()
    _flush()
    os._exit(status)


def run_command(words: list[bytes]) -> NoReturn:
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
    space, number = _fresh_main("<cell>"), 0
    source = os.fdopen(cells, "rb")
    while line := source.readline():
        cell = json.loads(line)
        code, stdin = (source.read(num) for num in cell["sizes"])
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
        number += 1
        status = _executed(code, f"<cell {number}>", space, show=True)
        _flush()
        os.write(done, b"\n%s %d\n" % (cell["token"].encode(), status))
    os._exit(0)


def _fresh_main(file: str) -> dict[str, Any]:
    """A `__main__` that knows nothing of this project, and streams that are this process's own."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "evolvent"]:
        del sys.modules[name]
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=__builtins__)
    sys.modules["__main__"], sys.argv = main, [file]
    sys.path[:0] = [""] if "" not in sys.path else []
    atexit._clear()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    return main.__dict__


def _executed(code: bytes, file: str, space: dict[str, Any], show: bool = False) -> int:
    """The exit status of Python source: its own, or 1 with a traceback; a last line's value where it is to be shown."""
    try:
        tree = ast.parse(code, file)
        last = tree.body.pop() if show and tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, file, "exec"), space)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), file, "eval"), space)
            if value is not None:
                print(repr(value))
    except SystemExit as error:
        return _status(error.code)
    except BaseException as error:
        _show(error, file, code)
        return 1
    return 0


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return int(code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _show(error: BaseException, file: str, code: bytes) -> None:
    """The traceback without our own frame, with the lines of the script."""
    import linecache

    with suppress(BaseException):
        text = code.decode("utf-8", "replace")
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, ast.__file__):
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)


def _flush() -> None:
    """What the code left of its streams; it may have put anything in their place."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
