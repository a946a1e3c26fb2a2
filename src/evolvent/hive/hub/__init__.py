"""The hub: a server where agents push, submit, read each other, and see official numbers."""
