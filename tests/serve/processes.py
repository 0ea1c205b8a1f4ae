"""Finding Serve's processes by their titles, and killing them for real."""

from __future__ import annotations

import re

import psutil


def replicas(deployment: str, app: str = "greenlight") -> list[psutil.Process]:
    """Return the processes of a deployment's replicas, oldest first."""
    idle = rf"ServeReplica:{re.escape(app)}:{re.escape(deployment)}"
    # Ray takes what follows the last dot of a busy actor's name for its class, and shows only that.
    busy = rf"ray::{re.escape(deployment.rpartition('.')[2])}\.handle_request"
    title = re.compile(rf"{idle}(?![\w-])|{busy}")
    found = [
        p for p in psutil.process_iter(["cmdline", "create_time"]) if title.search(" ".join(p.info["cmdline"] or []))
    ]
    return sorted(found, key=lambda process: process.info["create_time"])


def kill_replicas(deployment: str) -> None:
    """End every replica of a deployment with kill -9; fail when there is none."""
    found = replicas(deployment)
    assert found, f"{deployment} has no replica"
    for process in found:
        process.kill()


def kill_tree(root: psutil.Process) -> None:
    """End a process and everything it started, at once and without a word, as a power cut would."""
    family = [root, *root.children(recursive=True)]
    for process in family:
        process.suspend()
    family = [*{p.pid: p for p in [*family, *root.children(recursive=True)]}.values()]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)
