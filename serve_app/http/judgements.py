"""Judging a file over HTTP: an ordinary run of a shipped judging pipeline, which the answer waits for."""

from __future__ import annotations

from functools import partial

from anyio import to_thread
from fastapi import Response
from starlette.requests import Request

from serve_app.core.errors import GreenlightError, InvalidInput, TooLarge, Unknown
from serve_app.core.filetype import HEAD_BYTES, type_of
from serve_app.core.footage import is_animation
from serve_app.http import inputs
from serve_app.http.body import read_form
from serve_app.http.desk import Base, Desk
from serve_app.http.form import Part
from serve_app.http.idempotency import run_id_of
from serve_app.http.prefer import wait_for_end, wait_s
from serve_app.http.service import Service, Submission
from serve_app.http.wire import JudgementView, from_judgement
from serve_app.runs.model import Run, RunState

IMAGE, VIDEO = "judge-image", "judge-video"
"""The pipelines that judge; a server without them answers 404."""
_FILE = "file"


class NotJudged(GreenlightError):
    """Raised with what ended the run of a judgement: that run's own ``code``, ``status`` and words."""

    def __init__(self, code: str, status: int, detail: str) -> None:
        super().__init__(code, status, detail)
        self.code, self.status, self.detail = code, status, detail

    def __str__(self) -> str:
        return self.detail


async def create(request: Request, response: Response, service: Desk, base: Base) -> JudgementView:
    """Judge the part `file`, a picture or a video by its first bytes. 202 when it takes longer than the answer waits.

    With an `Idempotency-Key`, sending it again is the same judgement. `Prefer: wait=0` has it answer at once.
    Of a video, the parts `reference` (the picture that it was made from), `face_box` and `null_clips` are taken too.
    """
    run_id = run_id_of(request)
    parts = await read_form(request, service)
    submission = await to_thread.run_sync(partial(_submission, parts, service))
    run, _ = await service.submit(run_id, submission)
    asked_s = wait_s(request, service.limits)
    run = await wait_for_end(request, service, run, service.limits.wait_s if asked_s is None else asked_s)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        raise _ended(run)
    response.status_code = 200 if run.state.is_final else 202
    view = from_judgement(run, base)
    response.headers["Location"] = view.links.self
    return view


def _submission(parts: dict[str, Part], service: Service) -> Submission:
    part = parts.get(_FILE)
    if part is None or not part.is_file:
        raise InvalidInput(_FILE, "is required, as a file part")
    limit_bytes = service.limits.upload_bytes
    if len(part.data) > limit_bytes:
        raise TooLarge(_FILE, f"it is {len(part.data)} bytes and the limit is {limit_bytes}")
    kind = type_of(part.data[:HEAD_BYTES])
    if kind is None:
        reason = "it is empty" if not part.data else "it is no picture and no video that we know"
        raise InvalidInput(_FILE, reason)
    pipeline = VIDEO if kind.demuxer or is_animation(part.data, kind) else IMAGE
    declared = {str(each["name"]): each["inputs"] for each in service.pipelines()}
    if pipeline not in declared:
        raise Unknown("pipeline", pipeline, sorted(declared))
    return Submission(pipeline, inputs.convert(declared[pipeline], parts, service.limits), {})


def _ended(run: Run) -> NotJudged:
    error = run.error or {}
    status = error.get("status")
    if not isinstance(status, int) or not 400 <= status <= 599:
        status = 500
    return NotJudged(str(error.get("code", "error")), status, str(error.get("detail", "")))
