"""Networks alone: torch, no serving."""
