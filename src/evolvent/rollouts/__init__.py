"""Tasks and policies to Episodes."""
