"""Policies to Reports."""
