"""Generators: prompt, seed and perhaps a picture in, a clip out."""
