"""The command line: `evolvent <verb> [recipe] [field=value ...]`, errors that say the cure, JSON where asked."""

from evolvent.cli.main import main

__all__ = ["main"]
