"""Whether a folder is a whole checkpoint: its files, their digests, and what to say where it is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput

DIGESTS = "digests.json"
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
SAVE_AGAIN = "save the model again, or take an earlier checkpoint"


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not a whole checkpoint, naming the file, what was found and what was wanted."""
    config = folder / "config.json"
    if not config.is_file():
        raise BadInput(
            "this folder is not a model",
            where=str(folder),
            got=", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder",
            wanted="config.json, model.safetensors and the files of a tokenizer",
            cure="give the folder that save_pretrained wrote (a run keeps it in checkpoints/step-NNNNNN/<policy>)",
        )
    read_json(config)
    _check_digests(folder)
    for file in _weight_files(folder):
        _check_header(file)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise BadInput(
            "the checkpoint has no tokenizer",
            where=str(folder),
            wanted="tokenizer.json and tokenizer_config.json",
            cure="tokenizer.save_pretrained(folder)",
        )


def _check_digests(folder: Path) -> None:
    record = folder / DIGESTS
    if not record.is_file():  # a folder that somebody else wrote
        return
    for name, wanted in read_json(record).items():
        file = folder / name
        got = _digest(file) if file.is_file() else "no file"
        if got != wanted:
            raise BadInput(
                f"the checkpoint is damaged: {name}",
                where=str(file),
                got=got,
                wanted=f"{wanted} (from {DIGESTS})",
                cure=f"{SAVE_AGAIN}; if you changed the file on purpose, delete {DIGESTS}",
            )


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else [WEIGHTS]
    for name in names:
        if not (folder / name).is_file():
            raise BadInput(
                f"the checkpoint has no {name}",
                where=str(folder),
                got=", ".join(sorted(p.name for p in folder.iterdir())[:8]),
                wanted=name,
                cure="save the model as safetensors (save_pretrained does)",
            )
    return [folder / name for name in names]


def _check_header(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise BadInput(
            f"the weights cannot be read: {file.name}",
            where=str(file),
            got=f"{file.stat().st_size} bytes; {error}",
            wanted="a whole safetensors file",
            cure=SAVE_AGAIN,
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a checkpoint's file."""
    try:
        read: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(
            f"{file.name} cannot be read", where=str(file), got=str(error), wanted="JSON", cure=SAVE_AGAIN
        ) from error
    return read


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder, by its path there."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): _digest(p) for p in files}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
