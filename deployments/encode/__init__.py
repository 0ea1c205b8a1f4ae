"""Encoders: a clip in, an artifact out."""
