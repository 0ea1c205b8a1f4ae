"""Adapters: what changes a generator or its prompt before it works."""
