"""The HTTP API, given a service and nothing else."""
