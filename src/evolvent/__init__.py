"""Evolvent trains language-model agents that write their own curriculum."""

__version__ = "0.1.0"
