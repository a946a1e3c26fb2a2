"""Anything that can be sampled: weights of our own, endpoints, scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evolvent.policies.endpoint import Endpoint
from evolvent.policies.policy import Policy, Trainable
from evolvent.policies.scripted import Fixed, Oracle, RandomWords

if TYPE_CHECKING:
    from evolvent.policies.local import LocalPolicy

__all__ = ["Endpoint", "Fixed", "LocalPolicy", "Oracle", "Policy", "RandomWords", "Trainable"]


def __getattr__(name: str) -> Any:
    if name == "LocalPolicy":  # torch is loaded only by those who train
        from evolvent.policies.local import LocalPolicy

        return LocalPolicy
    raise AttributeError(name)
