"""Worlds: what an agent may touch for one task."""

from evolvent.envs.bfcl import Bfcl
from evolvent.envs.calculator import calc
from evolvent.envs.gym import Gym
from evolvent.envs.interpreter import Interpreter
from evolvent.envs.mcp import McpTools
from evolvent.envs.openenv import OpenEnv
from evolvent.envs.pool import Pooled
from evolvent.envs.toolbox import Toolbox
from evolvent.envs.tools import as_tool, validate
from evolvent.envs.world import World, WorldPlan, WorldStep

__all__ = [
    "Bfcl",
    "Gym",
    "Interpreter",
    "McpTools",
    "OpenEnv",
    "Pooled",
    "Toolbox",
    "World",
    "WorldPlan",
    "WorldStep",
    "as_tool",
    "calc",
    "validate",
]
