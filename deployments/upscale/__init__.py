"""Upscalers: a clip in, a larger clip out."""
