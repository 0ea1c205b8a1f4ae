"""Fixtures that several folders share."""

from tests.deployments.conftest import tiny_ltx2_dir

__all__ = ["tiny_ltx2_dir"]
