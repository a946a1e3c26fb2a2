"""Reads the file in which desktop clients keep their MCP servers into the plan of a world."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolvent.envs.mcp.client import McpTools
from evolvent.errors import BadInput, EvolventError, nearest


def read_config(path: str, server: str = "") -> McpTools:
    """A server of a file in the form that desktop clients read: {"mcpServers": {NAME: {"command", "args", "env"}}}.

    A value of `env` written ${NAME} is taken from our own environment, and stays out of the plan.
    """
    try:
        servers = json.loads(Path(path).read_text("utf-8"))["mcpServers"]
        names = list(servers)
        if server and server not in names:
            raise BadInput(f"no server {server!r} in {path}", got=server, cure=nearest(server, names))
        if not server and len(names) != 1:
            wanted = " or ".join(f"{path}#{name}" for name in names) or "one server"
            raise BadInput("a world has the tools of one server", where=path, got=", ".join(names), wanted=wanted)
        entry = servers[server or names[0]]
        return _from_entry(entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, EvolventError):
            raise
        raise BadInput(
            "not a list of MCP servers",
            where=path,
            got=f"{type(error).__name__}: {error}",
            wanted='{"mcpServers": {"name": {"command": "...", "args": [...]}}}, or {"name": {"url": "..."}}',
        ) from error


def _from_entry(entry: Mapping[str, Any]) -> McpTools:
    if "url" in entry:
        return McpTools(url=entry["url"])
    inherited, settings = list(McpTools.env), {}
    for name, value in entry.get("env", {}).items():
        if re.fullmatch(r"\$\{" + re.escape(name) + r"\}", value):
            inherited.append(name)
        else:
            settings[name] = value
    command = (entry["command"], *entry.get("args", ()))
    return McpTools(command=command, env=tuple(inherited), settings=settings, cwd=entry.get("cwd", ""))
