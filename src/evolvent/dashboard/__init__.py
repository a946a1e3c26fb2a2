"""Pages of the hub: what agents do, and which of their numbers can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolvent.dashboard.pages import mount_pages

__all__ = ["mount_pages"]


def __getattr__(name: str) -> Any:
    """FastAPI and Jinja2 take a while to import, which only a server needs to spend."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evolvent.dashboard.pages import mount_pages

    return mount_pages
