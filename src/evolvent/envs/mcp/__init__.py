"""The tools of a world as an MCP server, and the tools of an MCP server as a world (extra `[worlds]`)."""

from evolvent.envs.mcp.client import McpTools
from evolvent.envs.mcp.config import read_config
from evolvent.envs.mcp.server import Sessions, as_app, as_server, serve_stdio

__all__ = ["McpTools", "Sessions", "as_app", "as_server", "read_config", "serve_stdio"]
