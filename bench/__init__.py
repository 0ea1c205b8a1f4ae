"""Benchmarks: one question per file, JSON lines out."""
