"""How the bundled weights were made: pictures and training scripts. Never imported when serving."""
