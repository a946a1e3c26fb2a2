"""Speed and memory of the hot paths beside the public peers: one command, one table of ratios."""
