"""Reads `field=value` words into a plan: JSON, else module:name(args), else a public name of the slot's stage."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolvent.codec import decode, from_json, locate
from evolvent.errors import BadInput, EvolventError, StoreError, nearest
from evolvent.plans import Improve
from evolvent.synthesis.trust import find_subject
from evolvent.tasks.procedural import family_names

STAGES = {
    "source": ("evolvent.tasks",),
    "reward": ("evolvent.rewards",),
    "workflow": ("evolvent.rollouts.workflows",),
    "world": ("evolvent.envs",),
    "curriculum": ("evolvent.curriculum",),
    "advantage": ("evolvent.credit.advantage",),
    "loss": ("evolvent.training.losses",),
    "optimizer": ("evolvent.training.optim",),
    "model": ("evolvent.models",),
    "sampler": ("evolvent.policies.samplers",),
    "suite": ("evolvent.evals.measure",),
}

WORDS = ("source", "model", "engine", "device", "dtype", "adapter", "recipe", "api_key_env")
SOURCE_CODE = re.compile(
    r"(?!reasoning_gym:)[A-Za-z_][\w.]*:[A-Za-z_]\w*(\(.*\))?"
)  # module:name(args), not family:level


def recipe_names() -> list[str]:
    """Every module in the recipes folder."""
    import evolvent.recipes

    return sorted(m.name for m in pkgutil.iter_modules(evolvent.recipes.__path__) if not m.name.startswith("_"))


def read_plan(words: tuple[str, ...], default: str = "circle") -> Any:
    """The plan behind the first word: a recipe's name or a plan.json."""
    name = words[0] if words else default
    if len(words) > 1:
        raise BadInput("more than one recipe", got=" ".join(words), wanted="one recipe, then field=value words")
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise BadInput("no such plan", where=name, cure="a run writes its own: runs/<run>/plan.json")
        return parse_plan(Path(name).read_text("utf-8"), name)
    if name not in recipe_names():
        raise BadInput(f"no recipe {name!r}", where="evolvent run", got=name, cure=nearest(name, recipe_names()))
    return importlib.import_module(f"evolvent.recipes.{name}").build()


def parse_plan(text: str, where: str) -> Improve:
    """A plan as a run wrote it down."""
    try:
        json.loads(text)
        plan = from_json(text)
    except EvolventError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError("the plan is broken", where=where, got=str(error), wanted="the JSON that a run writes",
                         cure="restore the file from a copy") from error  # fmt: skip
    if not isinstance(plan, Improve):
        raise StoreError(
            "this holds no plan", where=where, got=type(plan).__name__, wanted="the JSON that a run writes"
        )
    return plan


def override(plan: Any, fields: Mapping[str, str]) -> Any:
    """The plan with each dotted field replaced; an unknown key is an error that names its neighbours.

    A source that needs a world, such as a folder of tasks, brings it along, unless another is named.
    """
    for key, text in fields.items():
        plan = _replace(plan, key.split("."), text, key)
        if key == "source":
            plan = _with_world(plan, text, fields)
    return plan


def _with_world(plan: Any, text: str, fields: Mapping[str, str]) -> Any:
    """The plan with its source opened, where that is a folder, and the world and workflow that it is made for."""
    if isinstance(plan.source, str) and (text in family_names() or not Path(text).expanduser().is_dir()):
        return plan
    found = find_subject(text if isinstance(plan.source, str) else plan.source)
    brought = {"world": found.world, "workflow": found.workflow}
    own = {name: part for name, part in brought.items() if part is not None and name not in fields}
    return dataclasses.replace(plan, source=found.source, **own)


def _replace(record: Any, path: list[str], text: str, key: str) -> Any:
    if isinstance(record, Mapping):
        inner = read_value(text, key) if len(path) == 1 else _replace(record[path[0]], path[1:], text, key)
        return {**record, path[0]: inner}
    if not dataclasses.is_dataclass(record):
        got = "null" if record is None else repr(record)
        raise BadInput(f"{key!r} has no effect here", where=key, got=f"{got} has no field {path[0]!r}",
                       cure=f"set {key.rpartition('.')[0]} to something with fields first")  # fmt: skip
    names = [f.name for f in dataclasses.fields(record)]
    if path[0] not in names:
        raise BadInput(f"no field {path[0]!r}", where=key, got=path[0], wanted=f"a field of {type(record).__name__}",
                       cure=nearest(path[0], names))  # fmt: skip
    old = getattr(record, path[0])
    if len(path) == 1 and isinstance(old, bool | int | float):
        _check_number(text, old, key)
    new = read_value(text, path[0]) if len(path) == 1 else _replace(old, path[1:], text, key)
    _check_kind(old, new, key)
    return dataclasses.replace(record, **{path[0]: new})  # type: ignore[type-var]


def _check_number(text: str, old: float, key: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        raise BadInput("not a number", where=key, got=text, wanted=f"a number such as {json.dumps(old)}") from None


def _check_kind(old: Any, new: Any, key: str) -> None:
    """Numbers stay numbers: num_steps=ten is found here and not an hour later."""
    if dataclasses.is_dataclass(old) and isinstance(new, bool | int | float):
        kind, names = type(old).__name__, [f.name for f in dataclasses.fields(old)]
        raise BadInput(
            "a number cannot stand here",
            where=key,
            got=json.dumps(new),
            wanted=f"such a thing as {kind}",
            cure=f"{key}.{names[0]}={json.dumps(new)}" if names else f"leave {key} as it is",
        )
    if isinstance(old, bool) and not isinstance(new, bool):
        raise BadInput("not a switch", where=key, got=json.dumps(new, default=str), wanted="true or false")
    if isinstance(old, int | float) and isinstance(new, bool) and not isinstance(old, bool):
        raise BadInput("not a number", where=key, got=json.dumps(new), wanted=f"a number such as {old}")
    if isinstance(old, bool | int | float) and not isinstance(new, bool | int | float):
        raise BadInput("not a number", where=key, got=repr(new), wanted=f"a number such as {old}")
    if isinstance(old, int) and not isinstance(old, bool) and isinstance(new, float):
        raise BadInput("not a whole number", where=key, got=new, wanted=f"a whole number such as {old}")


def read_value(text: str, slot: str) -> Any:
    """A value as written on the command line."""
    try:
        return decode(json.loads(text))
    except json.JSONDecodeError:
        pass
    if slot == "source" and SOURCE_CODE.fullmatch(text):
        return _Named(slot).read(text)
    if slot in WORDS:
        return text
    return _Named(slot).read(text)


class _Named:
    """Names and calls, as Python writes them, with nothing else of Python."""

    def __init__(self, slot: str) -> None:
        self.slot = slot

    def read(self, text: str) -> Any:
        module, colon, rest = text.partition(":")
        if colon and "(" not in module:
            call = self._parse(rest)
            name = ast.unparse(call.func) if isinstance(call, ast.Call) else rest
            return self._called(locate(f"{module}:{name}"), call)
        node = self._parse(text)
        return self._evaluate(node)

    def _parse(self, text: str) -> ast.expr:
        try:
            return ast.parse(text, mode="eval").body
        except SyntaxError as error:
            raise BadInput("cannot be read", where=self.slot, got=text,
                           wanted="JSON, module:name(args), or a public name") from error  # fmt: skip

    def _evaluate(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self._find(node.id)
        if isinstance(node, ast.Call):
            return self._called(self._evaluate(node.func), node)
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(self._evaluate(e) for e in node.elts)
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise BadInput(
                "cannot be read", where=self.slot, got=ast.unparse(node), wanted="a name, a call or a literal"
            ) from None

    def _called(self, found: Any, node: ast.expr) -> Any:
        if not isinstance(node, ast.Call):
            return found
        try:
            return found(*(self._evaluate(a) for a in node.args),
                         **{k.arg: self._evaluate(k.value) for k in node.keywords if k.arg})  # fmt: skip
        except TypeError as error:
            raise BadInput("cannot be made so", where=self.slot, got=ast.unparse(node), cure=str(error)) from error

    def _find(self, name: str) -> Any:
        homes = STAGES.get(self.slot, tuple(m for stages in STAGES.values() for m in stages))
        known: list[str] = []
        for home in (*homes, *(m for stages in STAGES.values() for m in stages)):
            module = importlib.import_module(home)
            if not name.startswith("_") and hasattr(module, name):
                return getattr(module, name)
            if home in homes:
                known += _names_of(module)
        raise BadInput(
            f"no name {name!r} in this stage", where=self.slot, got=name, cure=nearest(name, sorted(set(known)))
        )


def _names_of(module: Any) -> list[str]:
    """What a module offers of its own: its public list, else what was written there."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        n
        for n, thing in vars(module).items()
        if not n.startswith("_") and getattr(thing, "__module__", "") == module.__name__
    ]
