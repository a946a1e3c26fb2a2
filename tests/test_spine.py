import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "src" / "evolvent"

SPINE = [
    "errors",
    "codec",
    "records",
    "seeds",
    "store",
    "models",
    "policies",
    "tasks",
    "envs",
    "rollouts",
    "rewards",
    "credit",
    "training",
    "evals",
    "synthesis",
    "curriculum",
    "plans",
    "live",
    "loop",
    "effects",
    "hive",
    "serve",
    "dashboard",
    "cli",
    "recipes",
]

# a method that changes one part of the main job is `replace(circle.build(), ...)`; nobody is a variation of a variation
VARIATIONS = {(f"recipes.{path.stem}", "recipes.circle") for path in (HOME / "recipes").glob("*.py")}
# the command line asks the empty package which modules lie beside it, and loads the one that is named
LISTINGS = {("cli.values", "recipes")}


def module_name(path):
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree, path):
    """Every evolvent module that a file names in an import: at the top, in a function, or for types."""
    package = ("evolvent", *path.relative_to(HOME).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.split(".")[0] == "evolvent")
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base.split(".")[0] == "evolvent":
                yield from ((f"{base}.{a.name}", node.lineno) for a in node.names)


@pytest.fixture(scope="module")
def edges():
    """Every import of ours by ours: file, line, who, whom."""
    return [
        (path, line, module_name(path), name.removeprefix("evolvent").lstrip("."))
        for path in sorted(HOME.rglob("*.py"))
        for name, line in imports_of(ast.parse(path.read_text("utf-8")), path)
    ]


def stage(module):
    return module.split(".")[0]


def test_every_module_belongs_to_a_stage_of_the_spine():
    stages = {stage(module_name(p)) for p in HOME.rglob("*.py")} - {"", "__main__"}
    assert stages <= set(SPINE), f"new stages need a place in the spine: {sorted(stages - set(SPINE))}"


def test_imports_point_upstream_only(edges):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}: {stage(name)} comes after {stage(module)}"
        for path, line, module, name in edges
        if stage(module) in SPINE and stage(name) in SPINE and (module, name) not in LISTINGS
        if SPINE.index(stage(name)) > SPINE.index(stage(module))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_cycle_runs_between_stages(edges):
    # follows from the order above, and is checked without it, so that a change of the order cannot hide one
    ahead = {
        s: {stage(n) for _, _, m, n in edges if stage(m) == s and stage(n) in SPINE and (m, n) not in LISTINGS} - {s}
        for s in SPINE
    }
    while free := [s for s, needs in ahead.items() if not needs & ahead.keys()]:
        for s in free:
            del ahead[s]
    assert not ahead, f"a cycle among {sorted(ahead)}"


def test_no_cycle_of_eager_imports_runs_within_a_stage():
    modules = {module_name(p) for p in HOME.rglob("*.py")} - {""}
    needs = {m: set() for m in modules}
    for path in HOME.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for name, _ in imports_of(tree, path):
            inner = name.removeprefix("evolvent").lstrip(".")
            found = inner if inner in modules else inner.rpartition(".")[0]
            # a package is entered before its module: that it imports its own files is no cycle
            if found in modules and not module_name(path).startswith(found + "."):
                needs.get(module_name(path), set()).add(found)
    needs = {module: others - {module} for module, others in needs.items()}
    while free := [m for m, others in needs.items() if not others & needs.keys()]:
        for m in free:
            del needs[m]
    assert not needs, f"a cycle among {sorted(needs)}"


def test_nobody_imports_a_recipe(edges):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path, line, module, name in edges
        if stage(name) == "recipes" and (module, name) not in VARIATIONS | LISTINGS
    ]
    assert not wrong, "recipes are found by name, at the door:\n" + "\n".join(wrong)
    package = ast.parse((HOME / "recipes" / "__init__.py").read_text("utf-8"))
    assert not list(imports_of(package, HOME / "recipes" / "__init__.py")), "the package itself stays empty"


def test_the_core_never_names_a_recipe_in_a_branch():
    names = {p.stem for p in (HOME / "recipes").glob("*.py")} - {"__init__"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} compares with {value.value!r}"
        for path in HOME.rglob("*.py")
        if stage(module_name(path)) not in ("recipes", "cli")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare)
        for value in [node.left, *node.comparators]
        if isinstance(value, ast.Constant) and value.value in names
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import evolvent.loop", ["evolvent.loop"]),
        ("def f():\n    from evolvent.cli import main", ["evolvent.cli.main"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from evolvent import hive", ["evolvent.hive"]),
        ("from . import packing\nfrom ..loop import improve", ["evolvent.credit.packing", "evolvent.loop.improve"]),
        ("import torch", []),
    ],
)
def test_imports_are_found_wherever_they_stand(text, found):
    assert [name for name, _ in imports_of(ast.parse(text), HOME / "credit" / "x.py")] == found
