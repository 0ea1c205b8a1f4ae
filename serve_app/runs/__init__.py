"""The life of a run: recorded, queued, leased, retried, priced, reported."""
