"""Scored episodes to batches with credit per token."""
