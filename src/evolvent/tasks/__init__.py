"""Tasks: made by procedural families, loaded from files, or taken from reasoning-gym; no world is run here."""

from __future__ import annotations

from evolvent.tasks.called import source
from evolvent.tasks.datasets import Dataset
from evolvent.tasks.procedural import Procedural
from evolvent.tasks.reasoning import ReasoningGym
from evolvent.tasks.several import Several
from evolvent.tasks.source import Source

__all__ = ["Dataset", "Procedural", "ReasoningGym", "Several", "Source", "source"]
