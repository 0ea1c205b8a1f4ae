"""Gates: they hand a clip on or turn it away by its score."""
