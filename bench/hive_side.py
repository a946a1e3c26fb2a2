"""Runs in a process of its own: a hub that exists, served as `evolvent hive serve` does but without rate limits."""

from __future__ import annotations

import sys


def main() -> None:
    """Serve the hub in a folder on a port; a third word is the URL of its database."""
    import uvicorn

    from evolvent.hive.hub.app import make_app
    from evolvent.hive.hub.hub import open_hub

    hub = open_hub(sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else None)
    hub.limits.rates.clear()  # a hundred agents ask as often as they can, all from one address
    uvicorn.run(make_app(hub), host="127.0.0.1", port=int(sys.argv[2]), access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
