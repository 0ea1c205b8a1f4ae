"""Pipelines as data: what a file may say, the plan it compiles to, and how a plan is walked."""
