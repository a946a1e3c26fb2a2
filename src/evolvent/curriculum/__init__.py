"""Which (family, level) to practise next."""

from evolvent.curriculum.frontier import Frontier, LiveFrontier, LiveUniform, Uniform

__all__ = ["Frontier", "LiveFrontier", "LiveUniform", "Uniform"]
