"""Runs Python source as a script would, or cell by cell as a notebook does, in a process that is confined already.

Runs inside the sandbox, from its source text: nothing but the standard library may be imported here.
"""

from __future__ import annotations

import ast
import atexit
import gc
import linecache
import os
import socket
import struct
import sys
import threading
import traceback
import types
from typing import Any

LENGTH = struct.Struct("<I")


def run_script(code: bytes) -> None:
    """Run a program from start to end; the process ends with it."""
    names = _become_main("<code>")
    status = _run(code, "<code>", names, shows_last=False)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    finally:
        status = _flush() or status
        os._exit(status)


def serve_cells(channel: socket.socket) -> None:
    """Run cell after cell, and say after each by one byte how it went."""
    names, own, number = _become_main("<cell>"), os.getpid(), 0
    while True:
        code = _receive(channel)
        number += 1
        status = _run(code, f"<cell {number}>", names, shows_last=True)
        status = _flush() or status
        if os.getpid() != own:  # a fork of the cell's must not read the next one
            os._exit(status)
        channel.sendall(bytes([status]))


def _receive(channel: socket.socket) -> bytes:
    start, files, _, _ = socket.recv_fds(channel, 65536, 1)
    if not start:
        os._exit(0)
    data = bytearray(start)
    size = LENGTH.unpack_from(data)[0] + LENGTH.size
    while len(data) < size:
        data += channel.recv(65536)
    if files:
        os.dup2(files[0], 0, inheritable=True)
        os.close(files[0])
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    return bytes(data[LENGTH.size : size])


def _become_main(file: str) -> dict[str, Any]:
    main = types.ModuleType("__main__")
    main.__builtins__ = sys.modules["builtins"]  # type: ignore[attr-defined]
    for name in [name for name in sys.modules if name.partition(".")[0] == "evolvent"]:
        del sys.modules[name]
    sys.modules["__main__"] = main
    sys.argv = [file]
    sys.path.insert(0, "")
    sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    gc.enable()
    return main.__dict__


def _run(code: bytes, file: str, names: dict[str, Any], shows_last: bool) -> int:
    """The status as a process would end with it; an error is shown."""
    try:
        tree = ast.parse(code, file)
        last = tree.body.pop() if shows_last and tree.body and isinstance(tree.body[-1], ast.Expr) else None
        text = code.decode(errors="replace")
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        if tree.body:
            exec(compile(tree, file, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), file, "eval"), names)
            if value is not None:
                names["_"] = value
                print(repr(value))
    except SystemExit as error:
        return _status(error.code)
    except BaseException as error:
        _show(error)
        return 1
    return 0


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return int(code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """The traceback as the code's author knows it: without the frames of this file."""
    try:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename in (__file__, ast.__file__):
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames)
    except BaseException:
        os.write(2, f"{type(error).__name__}\n".encode())


def _flush() -> int:
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        return 1
    return 0
