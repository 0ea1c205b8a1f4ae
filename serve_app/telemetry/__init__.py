"""What operators see of a running house: metrics and logs."""
