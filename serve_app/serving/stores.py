"""From the configuration to the things that it names: stores, limits, settings."""

from __future__ import annotations

from pathlib import Path

from serve_app.artifacts.local import LocalArtifacts
from serve_app.config import AppConfig
from serve_app.core.artifact import ArtifactStore
from serve_app.graph.flow import Streaming
from serve_app.graph.spec import is_file_name
from serve_app.http.service import Limits
from serve_app.runs.queue import QueueSettings
from serve_app.runs.sql import SqlRunStore
from serve_app.runs.store import RunStore


def at_home(config: AppConfig) -> AppConfig:
    """Return ``config`` with absolute paths: replicas may be started elsewhere than the builder was."""
    artifacts = config.artifacts_directory
    changes = {
        "directory": config.directory.absolute(),
        "artifacts_directory": None if artifacts is None else artifacts.absolute(),
        "optimal_seeds": seeds.absolute() if isinstance(seeds := config.optimal_seeds, Path) else seeds,
        "pipelines": tuple(str(Path(each).absolute()) if is_file_name(each) else each for each in config.pipelines),
    }
    return config.model_copy(update=changes)


def open_store(config: AppConfig) -> RunStore:
    """Open the run store, making it if it is missing; raise Misconfigured or Unavailable."""
    return SqlRunStore(config.run_store_url)


def open_artifacts(config: AppConfig) -> ArtifactStore:
    """Open the artifact store, making it if it is missing; raise Misconfigured."""
    return LocalArtifacts(config.artifacts_path)


def queue_settings(config: AppConfig) -> QueueSettings:
    """Return the queue's settings."""
    streaming = Streaming(config.streaming.chunk_frames, config.streaming.credits)
    return QueueSettings(**config.queue.model_dump(), streaming=streaming)


def http_limits(config: AppConfig) -> Limits:
    """Return what a request may ask of the HTTP floor; the rest of the limits is admission's."""
    return Limits(body_bytes=config.limits.body_bytes, upload_bytes=config.limits.upload_bytes)
