"""Generators that are somebody else's server: asked over HTTP, watched, cancelled, never paid twice for one clip."""
