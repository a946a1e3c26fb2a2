"""Runs in a process of its own: a hub that exists, served as `evolvent hive serve` does but without rate limits."""

from __future__ import annotations

import sys


def main() -> None:
    """Serve the hub in a folder on a port; a third word is the URL of its database."""
    from evolvent.cli.hive_serve import build_app
    from evolvent.hive.hub.hub import open_hub
    from evolvent.serve.door import serve_app

    hub = open_hub(sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else None)
    hub.limits.rates.clear()  # a hundred agents ask as often as they can, all from one address
    serve_app(build_app(hub), port=int(sys.argv[2]), announce=lambda port: None)
    hub.close()


if __name__ == "__main__":
    main()
