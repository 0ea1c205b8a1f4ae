"""Judging files that exist: finding them, asking the judges, and showing what they said."""
