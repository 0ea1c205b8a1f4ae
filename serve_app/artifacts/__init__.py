"""Where encoded outputs live, addressed by their digests."""
