"""Worlds as folders on disk: equal worlds give equal bytes, and reading says what is broken and where.

A world's folder holds world.json (names, labels, schema, tools, rules), tables/NAME.jsonl (a row a line) and
manifest.json (the SHA-256 of each of these files). A corpus has one such folder a world under worlds/.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from evolvent.codec import decode, encode
from evolvent.envs.databases.records import Database, PythonTool, SqlTool, Table, as_shown
from evolvent.errors import BadInput, EvolventError
from evolvent.records import Reference
from evolvent.store.atomic import disk_errors_at, write_folder, write_text

WORLD, MANIFEST, TABLES, WORLDS, CORPUS = "world.json", "manifest.json", "tables", "worlds", "corpus.json"
FORMAT = "evolvent-world-1"
KINDS = {"sql": SqlTool, "python": PythonTool}
_PYTHON_TYPES = {"text": (str,), "integer": (int,), "real": (int, float)}


def write_world(folder: Path, database: Database) -> str:
    """Write a world, whole or not at all; gives the SHA-256 of its manifest."""
    files = _files(database)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = _text({"format": FORMAT, "files": digests})

    def fill(temporary: Path) -> None:
        for name, data in files.items():
            path = temporary / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        (temporary / MANIFEST).write_text(manifest, "utf-8")

    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder(folder, fill)
    return hashlib.sha256(manifest.encode()).hexdigest()


def read_world(folder: str | Path) -> Database:
    """The world that `write_world` wrote; BadInput says which file is missing, changed or broken."""
    folder = Path(folder)
    _check_manifest(folder)
    told = _json(folder / WORLD)
    try:
        tables = tuple(_table(folder, one) for one in told["tables"])
        tools = tuple(_tool(one) for one in told["tools"])
        rest = {name: decode(told[name]) for name in _PLAIN_FIELDS}
        database = Database(tables=tables, tools=tools, **rest)
        _ = database.image
    except BadInput as error:
        raise BadInput(error.what, where=f"{folder}: {error.where}", got=error.got, wanted=error.wanted) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            "this world cannot be read",
            where=str(folder / WORLD),
            got=f"{type(error).__name__}: {error}",
            wanted=f"what {FORMAT} holds",
            cure="restore the folder from a copy, or write it anew",
        ) from error
    return database


def reference_to(folder: Path) -> Reference:
    """How a task names a world on disk."""
    return Reference("evolvent.envs.databases.corpus:read_world", {"folder": str(folder)})


def worlds_in(corpus: str | Path) -> tuple[Path, ...]:
    """The folders of a corpus's worlds by name; BadInput where there is none."""
    corpus = Path(corpus)
    with disk_errors_at(corpus):
        found = sorted(path.parent for path in (corpus / WORLDS).glob(f"*/{MANIFEST}"))
    if not found:
        raise BadInput(
            "no corpus of worlds",
            where=str(corpus),
            wanted=f"a folder with {WORLDS}/NAME/{MANIFEST}",
            cure="evolvent synth worlds out=FOLDER writes one",
        )
    return tuple(found)


def read_corpus(corpus: str | Path) -> Iterator[Database]:
    """All worlds of a corpus, in order of their names."""
    for folder in worlds_in(corpus):
        yield read_world(folder)


def digest_of(folder: Path) -> str:
    """SHA-256 of everything below a folder, names and bytes."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def write_data(path: Path, data: Mapping[str, Any]) -> None:
    """A JSON file of the corpus, the same bytes for the same data."""
    write_text(path, _text(data))


# ------------------------------------------------------------ of one world

_PLAIN_FIELDS = tuple(f.name for f in fields(Database) if f.name not in ("tables", "tools"))


def _files(database: Database) -> dict[str, bytes]:
    """What a world's folder holds beside the manifest."""
    told: dict[str, Any] = {"format": FORMAT}
    told |= {name: encode(getattr(database, name)) for name in _PLAIN_FIELDS}
    told["tables"] = [
        _fields(encode(replace(table, rows=()))) | {"num_rows": len(table.rows)} for table in database.tables
    ]
    told["tools"] = [_tool_data(tool) for tool in database.tools]
    files = {WORLD: _text(told).encode()}
    for table in database.tables:
        lines = (json.dumps(list(row), ensure_ascii=False, allow_nan=False) + "\n" for row in table.rows)
        files[f"{TABLES}/{table.name}.jsonl"] = "".join(lines).encode()
    return files


def _tool_data(tool: SqlTool | PythonTool) -> dict[str, Any]:
    """A tool with its schema as a model sees it, for readers of other projects, and with all that runs it."""
    kind = next(name for name, made in KINDS.items() if isinstance(tool, made))
    return {"kind": kind, "schema": encode(as_shown(tool).parameters), **_fields(encode(tool))}


def _tool(data: Mapping[str, Any]) -> SqlTool | PythonTool:
    if data["kind"] not in KINDS:
        raise BadInput("no such kind of tool", where=f"tool {data['name']}", got=data["kind"], wanted="sql or python")
    rest = {key: decode(value) for key, value in data.items() if key not in ("kind", "schema")}
    tool: SqlTool | PythonTool = KINDS[data["kind"]](**rest)
    if encode(as_shown(tool).parameters) != data["schema"]:
        raise BadInput("the schema is not that of the parameters", where=f"tool {tool.name}", got=data["schema"])
    return tool


def _table(folder: Path, data: Mapping[str, Any]) -> Table:
    rest = {key: decode(value) for key, value in data.items() if key not in ("num_rows", "rows")}
    table = Table(**rest)
    name = f"{TABLES}/{table.name}.jsonl"
    rows = []
    for number, line in enumerate((folder / name).read_text("utf-8").split("\n")[:-1], 1):
        rows.append(_row(table, line, f"{name}, line {number}"))
    if len(rows) != data["num_rows"]:
        raise BadInput("rows are missing", where=name, got=f"{len(rows)} rows", wanted=f"{data['num_rows']} rows")
    return replace(table, rows=tuple(rows))


def _row(table: Table, line: str, where: str) -> tuple[Any, ...]:
    row = json.loads(line)
    if not isinstance(row, list) or len(row) != len(table.columns):
        raise BadInput(
            "a row does not fit its table", where=where, got=line[:80], wanted=f"{len(table.columns)} values"
        )
    for column, value in zip(table.columns, row, strict=True):
        if value is not None and (isinstance(value, bool) or not isinstance(value, _PYTHON_TYPES[column.kind])):
            raise BadInput(
                "a value does not fit its column", where=f"{where}, column {column.name}", got=value, wanted=column.kind
            )
    return tuple(row)


def _check_manifest(folder: Path) -> None:
    """BadInput where a file is missing, is new, or has other bytes than when it was written."""
    told = _json(folder / MANIFEST)
    if told.get("format") != FORMAT or not isinstance(told.get("files"), dict):
        raise BadInput("no manifest of a world", where=str(folder / MANIFEST), got=told.get("format"), wanted=FORMAT)
    for name, digest in told["files"].items():
        path = folder / name
        if ".." in Path(name).parts or not path.is_file():
            raise BadInput(
                "a file of the world is missing", where=str(path), cure="restore it, or write the world anew"
            )
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise BadInput(
                "a file of the world has been changed",
                where=str(path),
                wanted=f"SHA-256 {digest}",
                cure="restore it from a copy; who means to change a world writes it anew with write_world",
            )
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    extra = sorted(found - set(told["files"]))
    if extra:
        raise BadInput("a file that is not in the manifest", where=str(folder / extra[0]), cure="take it away")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput("no world here", where=str(path), wanted=f"a folder with {WORLD} and {MANIFEST}")
    try:
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict):
            return found
        why = f"a {type(found).__name__}"
    except (ValueError, EvolventError) as error:
        why = str(error)
    raise BadInput("not the JSON of a world", where=str(path), got=why, cure="restore it from a copy")


def _fields(encoded: Any) -> dict[str, Any]:
    """A record's fields without its import path, which its place in the file says."""
    return {key: value for key, value in encoded.items() if key != "is"}


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
