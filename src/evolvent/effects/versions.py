"""What code an experiment was made with, as a digest that comments, docstrings and layout do not change."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HOME = Path(__file__).resolve().parents[1]
# what shows, serves or starts experiments does not decide how they end
BYSTANDERS = ("cli", "dashboard", "hive", "recipes", "serve")
PART = re.compile(r'"([\w.]+):[\w.]+"')  # the import path of a part
WITH_DOCSTRING = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def code_digest() -> str:
    """Of everything that decides how a run ends: the package up to and with `effects`."""
    files = [p for p in sorted(HOME.rglob("*.py")) if p.relative_to(HOME).parts[0] not in BYSTANDERS]
    return digest_of(files)


def recipe_digest(name: str) -> str:
    """Of a recipe's module and of the recipes that it varies."""
    return digest_of(sorted(_files_of(importlib.import_module(name), set())))


def modules_digest(plan: Any) -> str:
    """Of the modules, none of them in `code_digest`, from which an encoded plan takes its parts."""
    named = {found[1] for found in PART.finditer(json.dumps(plan))}
    files = [
        Path(str(sys.modules[name].__file__)) for name in named if getattr(sys.modules.get(name), "__file__", None)
    ]
    own = [p for p in files if not p.is_relative_to(HOME) or p.relative_to(HOME).parts[0] in BYSTANDERS]
    return digest_of(sorted(own))


def _files_of(module: ModuleType, seen: set[Path]) -> set[Path]:
    path = Path(str(module.__file__))
    if path not in seen:
        seen.add(path)
        home = module.__name__.rpartition(".")[0]
        for thing in vars(module).values():
            if isinstance(thing, ModuleType) and home and thing.__name__.startswith(home + "."):
                _files_of(thing, seen)
    return seen


def digest_of(files: list[Path]) -> str:
    """Of the programs in these files."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name}\n{_bones(path.read_text('utf-8'))}\n".encode())
    return whole.hexdigest()[:16]


def _bones(text: str) -> str:
    """The program of a text, without its docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
