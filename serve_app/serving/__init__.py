"""Hosting on Ray Serve: the only floor that imports ray."""
