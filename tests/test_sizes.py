import ast
import warnings
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / "src" / "evolvent"


def too_large():
    for path in sorted(HOME.rglob("*.py")):
        text, name = path.read_text("utf-8"), str(path.relative_to(HOME))
        limit = {"loop.py": 150}.get(name, 150 if name.startswith("recipes/") else 300)
        if (lines := len(text.splitlines())) > limit:
            yield f"{name}: {lines} lines (look again above {limit})"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 40:
                    yield f"{name}:{node.lineno} {node.name}: {lines} lines (look again above 40)"
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                num = len([a for a in names if a not in ("self", "cls")])
                if num > 6:
                    yield f"{name}:{node.lineno} {node.name}: {num} parameters (look again above 6)"


def test_sizes_worth_looking_at_are_reported():
    found = list(too_large())
    print("\n".join(found))
    if found:
        warnings.warn(f"{len(found)} sizes worth looking at:\n  " + "\n  ".join(found), stacklevel=1)
