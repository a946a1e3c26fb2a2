"""Runs code that nobody trusts: in the best sandbox that this machine has, or not at all."""

from __future__ import annotations

from evolvent.envs.sandbox.choose import TIERS, best, probe_all
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.tier import Sandbox, Session

__all__ = ["TIERS", "Ended", "Limits", "Result", "Sandbox", "Session", "Usage", "best", "probe_all"]
