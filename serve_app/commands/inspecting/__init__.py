"""Looking into files: what they are, and what they say of how they were made."""
