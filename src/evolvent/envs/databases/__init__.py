"""Worlds of a database and tools: a private copy for each episode, and a digest of how it was left."""

from __future__ import annotations

from evolvent.envs.databases.live import OpenDatabase, changes, digest
from evolvent.envs.databases.named import Databases, name_world, world_of
from evolvent.envs.databases.records import (
    AnyTool,
    Column,
    Database,
    Operation,
    Parameter,
    PythonTool,
    SqlTool,
    Statement,
    Table,
    Value,
)

__all__ = [
    "AnyTool",
    "Column",
    "Database",
    "Databases",
    "OpenDatabase",
    "Operation",
    "Parameter",
    "PythonTool",
    "SqlTool",
    "Statement",
    "Table",
    "Value",
    "changes",
    "digest",
    "name_world",
    "world_of",
]
