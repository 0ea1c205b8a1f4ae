"""Judging files that exist."""
