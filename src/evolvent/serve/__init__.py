"""An OpenAI-compatible door over any policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolvent.serve.app import make_app
    from evolvent.serve.desk import PolicyDesk
    from evolvent.serve.door import Where, background, serve

__all__ = ["PolicyDesk", "Where", "background", "make_app", "serve"]

_HOMES = {"PolicyDesk": "desk", "Where": "door", "make_app": "app", "background": "door", "serve": "door"}


def __getattr__(name: str) -> Any:
    """FastAPI and uvicorn take half a second to import, which only a server needs to spend."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
