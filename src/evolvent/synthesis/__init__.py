"""New tasks, and the proof that they are worth training on."""

from __future__ import annotations

from evolvent.synthesis.screening import Screened, screen

__all__ = ["Screened", "screen"]
