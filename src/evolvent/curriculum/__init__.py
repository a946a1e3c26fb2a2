"""Which (family, level) to practise next."""

from evolvent.curriculum.frontier import Frontier, LiveFrontier, LiveUniform, Uniform
from evolvent.curriculum.targeted import LiveTargeted, Targeted

__all__ = ["Frontier", "LiveFrontier", "LiveTargeted", "LiveUniform", "Targeted", "Uniform"]
