"""`python -m evolvent` is the command line too."""

import sys

from evolvent.cli import main

sys.exit(main())
