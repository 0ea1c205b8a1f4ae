"""A run's outputs as files: ranges, conditional requests, and headers that let a browser play but never run them."""

from __future__ import annotations

from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from serve_app.core.artifact import Artifact
from serve_app.http.desk import Base, Desk, RunId
from serve_app.http.facts import headers_of
from serve_app.http.problems import plain, respond
from serve_app.http.wire import ArtifactList, every_output_of
from serve_app.runs.outputs import attempt_of

_SHOWN = ("image/", "video/", "audio/", "application/json", "text/plain")
_ACTIVE = "image/svg+xml"  # a picture that may hold script


async def index(service: Desk, base: Base, run_id: RunId) -> ArtifactList:
    """Return a run's outputs and those of each attempt, rejected ones too; none before it has ended."""
    return ArtifactList(run_id=run_id, artifacts=every_output_of(await service.get(run_id), base))


async def download(request: Request, service: Desk, run_id: RunId, name: str) -> Response:
    """Send an output's bytes. They never change under their digest, so a cache may keep them for good."""
    artifact, path = await service.artifact(run_id, name)
    headers = {
        **headers_of(await service.get(run_id), attempt_of(name)),
        "ETag": f'"{artifact.digest}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if _is_known(request.headers.get("if-none-match", ""), artifact.digest):
        return Response(status_code=304, headers=headers)
    return ArtifactResponse(artifact, path, headers)


class ArtifactResponse(FileResponse):
    """A FileResponse whose refusals (416, and 400 for a malformed Range) are problem documents like all others."""

    def __init__(self, artifact: Artifact, path: Path, headers: dict[str, str]) -> None:
        is_shown = artifact.media_type.startswith(_SHOWN) and not artifact.media_type.startswith(_ACTIVE)
        super().__init__(
            path,
            headers=headers,
            media_type=artifact.media_type,
            filename=artifact.name,
            content_disposition_type="inline" if is_shown else "attachment",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or the problem with the range that was asked for."""
        refused: list[Response] = []

        async def send_unless_refused(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused.append(_refusal(message))
            elif not refused:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused:
            await refused[0](scope, receive, send)


def _refusal(start: Message) -> Response:
    content_range = Headers(raw=start["headers"]).get("content-range")
    if content_range is None:
        return respond(plain(400, "The Range header is not `bytes=` and one or more ranges."), {})
    return respond(plain(416, "The range lies outside of the file."), {"Content-Range": content_range})


def _is_known(if_none_match: str, digest: str) -> bool:
    """Compare weakly, as RFC 9110 section 13.1.2 has it for If-None-Match."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", f'"{digest}"') for tag in tags)
