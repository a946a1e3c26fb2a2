"""Finds out which ways to isolate code work on this machine, and opens the best of them."""

from __future__ import annotations

import atexit
import importlib
import os
import threading
from typing import Any

from evolvent.envs.sandbox.tier import Sandbox
from evolvent.errors import BadInput, EvolventError, InfrastructureError, nearest

# Best first. Each is a module of this package with `probe() -> str`, empty or why not and the cure, and `open_()`.
TIERS = ("bubblewrap", "landlock", "monty", "container")

_lock = threading.RLock()
_probed: dict[str, str] = {}
_opened: dict[tuple[int, str], Sandbox] = {}  # by process: a fork must not share what its parent closes


def best(name: str | None = None) -> Sandbox:
    """The best sandbox that works here, or the one of that name; one for the whole process, closed at its end."""
    if name is not None and name not in TIERS:
        raise BadInput(f"there is no sandbox {name!r}", got=name, cure=nearest(name, list(TIERS)))
    with _lock:
        for tier in (name,) if name else TIERS:
            if not _probe(tier):
                return _open(tier)
        if name:
            raise InfrastructureError(f"the sandbox {name} does not work here", got=_probe(name))
        raise InfrastructureError(
            "no sandbox works here, and code that nobody trusts is not run without one",
            got="".join(f"\n    {tier}: {why}" for tier, why in probe_all().items()),
            wanted=f"one of {', '.join(TIERS)}",
            cure="follow one of these, or `pip install pydantic-monty` for small scripts",
        )


def probe_all() -> dict[str, str]:
    """By name of a tier: nothing where it works here, else why it does not and the cure."""
    with _lock:
        return {tier: _probe(tier) for tier in TIERS}


def _probe(tier: str) -> str:
    if tier not in _probed:
        try:
            _probed[tier] = str(_module(tier).probe())
        except EvolventError as error:
            _probed[tier] = f"{error.what}; {error.cure}" if error.cure else error.what
        except ImportError as error:
            _probed[tier] = str(error)
    return _probed[tier]


def _open(tier: str) -> Sandbox:
    key = (os.getpid(), tier)
    if key not in _opened:
        _opened[key] = _module(tier).open_()
        atexit.register(_close, key)
    return _opened[key]


def _forget_lock() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()  # a fork may have been made while another thread held it


os.register_at_fork(after_in_child=_forget_lock)


def _close(key: tuple[int, str]) -> None:
    if key[0] == os.getpid() and key in _opened:
        _opened.pop(key).close()


def _module(tier: str) -> Any:
    return importlib.import_module(f"evolvent.envs.sandbox.{tier}")
