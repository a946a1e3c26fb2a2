"""Keeps boxes ready inside the sandbox: each is a fork of this warm interpreter, and takes one call or one session.

Runs inside the sandbox, from its source text: nothing but the standard library and its neighbours here.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from evolvent.envs.sandbox.box import Box
from evolvent.envs.sandbox.wire import put

NUM_SPARE = 2


def main(number: int, program: bytes, preload: Sequence[str]) -> None:
    """Serve calls that arrive on the socket of that number until its other side is gone."""
    control = socket.socket(fileno=number)
    for name in preload:
        importlib.import_module(name)
    sys.dont_write_bytecode = True
    gc.disable()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _silence()  # until here, what goes wrong is said to the keeper's caller
    taken, taking = os.pipe()
    for _ in range(NUM_SPARE):
        _start_box(control, program, taking)
    control.send(b"ready")
    poller = select.poll()
    poller.register(control, 0)  # only its end
    poller.register(taken, select.POLLIN)
    while True:
        for ready, _ in poller.poll():
            if ready == control.fileno():
                os._exit(0)
            for _ in os.read(taken, 64):
                _start_box(control, program, taking)


def _start_box(control: socket.socket, program: bytes, taking: int) -> None:
    if os.fork() == 0:
        try:
            _serve(control, program, taking)
        finally:
            os._exit(0)


def _serve(control: socket.socket, program: bytes, taking: int) -> None:
    trouble = ""
    try:
        box = Box(program)
    except Exception as error:
        trouble = f"a box cannot be made: {type(error).__name__}: {error}"
    data, files, _, _ = socket.recv_fds(control, 65536, 8)
    if not data:
        return
    os.write(taking, b"x")
    os.close(taking)
    control.close()
    call = socket.socket(fileno=files[0])
    header: dict[str, Any] = json.loads(data)
    try:
        if trouble:
            put(call, {"broken": trouble})
        else:
            box.serve(call, header, files[1:])
    except Exception as error:
        put(call, {"broken": f"{type(error).__name__}: {error}"})


def _silence() -> None:
    nowhere = os.open("/dev/null", os.O_RDWR)
    for place in (0, 1, 2):
        os.dup2(nowhere, place)
    os.close(nowhere)
