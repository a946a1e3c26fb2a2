"""Worlds: what an agent may touch for one task."""

from evolvent.envs.calculator import calc
from evolvent.envs.interpreter import Interpreter
from evolvent.envs.toolbox import Toolbox
from evolvent.envs.tools import as_tool, validate
from evolvent.envs.world import World, WorldPlan, WorldStep

__all__ = ["Interpreter", "Toolbox", "World", "WorldPlan", "WorldStep", "as_tool", "calc", "validate"]
