"""What the server says about itself: pipelines, health, problem types."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from serve_app.core.errors import Unknown
from serve_app.http import problems
from serve_app.http.desk import Desk
from serve_app.http.wire import PipelineList, PipelineView, ProblemType

READY_RETRY_S = 5


async def pipelines(service: Desk) -> PipelineList:
    """Return every pipeline that is served."""
    return PipelineList(pipelines=[PipelineView.model_validate(entry) for entry in service.pipelines()])


async def pipeline(service: Desk, name: str) -> PipelineView:
    """Return one pipeline."""
    entries = {str(entry["name"]): entry for entry in service.pipelines()}
    if name not in entries:
        raise Unknown("pipeline", name, sorted(entries))
    return PipelineView.model_validate(entries[name])


async def healthz() -> dict[str, str]:
    """Say that the process is up. It says nothing of the models: see /readyz."""
    return {"status": "ok"}


async def readyz(service: Desk) -> Response:
    """Say whether runs would be worked on now, and why not."""
    facts: dict[str, Any] = await service.health()
    if facts["is_ready"]:
        return JSONResponse(facts, headers={"Cache-Control": "no-store"})
    problem = problems.plain(503, "The server is up but would not work on a run now; see `facts`.")
    return problems.respond(problem.model_copy(update={"facts": facts}), {"Retry-After": str(READY_RETRY_S)})


async def problem_type(code: str) -> ProblemType:
    """Say what a problem code means: a problem's `type` leads here."""
    known = problems.types()
    if code not in known:
        raise Unknown("code", code, sorted(known))
    return known[code]
