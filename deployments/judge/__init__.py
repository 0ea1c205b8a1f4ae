"""Judges: a clip in, a score out; they decide nothing."""
