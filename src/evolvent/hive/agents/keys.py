"""Keeps the tokens of agents in files that only their owner can read, as the public client writes them."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from evolvent.errors import BadInput
from evolvent.store.atomic import disk_errors_at

HOME_VARIABLE = "EVOLVENT_HIVE_HOME"


@dataclass(frozen=True)
class Key:
    """An agent's name, and the token by which the hub knows it."""

    agent: str
    token: str

    def __repr__(self) -> str:
        return f"Key({self.agent!r})"


def read_key(path: Path) -> Key | None:
    """The key in a file, None where there is none; BadInput where others can read it, or it is broken."""
    if not path.exists():
        return None
    if path.stat().st_mode & 0o077:
        cure = f"chmod 600 {path}; if others may have read it, renew the token"
        raise BadInput("others can read this token", where=str(path), wanted="rights 600", cure=cure)
    try:
        said = json.loads(path.read_text("utf-8"))
        return Key(str(said["agent_id"]), str(said["token"]))
    except (ValueError, KeyError, TypeError):
        cure = "delete the file, and join as a new agent"
        raise BadInput("the file of a token is broken", where=str(path), cure=cure) from None


def keep_key(path: Path, key: Key) -> None:
    """Write a key whole or not at all; nobody else can read it at any moment."""
    with disk_errors_at(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps({"agent_id": key.agent, "token": key.token}, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def default_home() -> Path:
    """Where agents live: $EVOLVENT_HIVE_HOME, else the user's configuration folder."""
    if given := os.environ.get(HOME_VARIABLE):
        return Path(given).expanduser().absolute()
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".config") / "evolvent" / "hive"


def hub_folder(home: Path, url: str) -> Path:
    """The folder of one hub: its host and port."""
    at = urlsplit(url)
    return home / f"{at.hostname}-{at.port or {'http': 80, 'https': 443}[at.scheme]}"
