"""What every floor speaks: media, scores, artifacts, errors, and the contract of a stage."""
