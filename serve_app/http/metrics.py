"""`GET /metrics`: the store's counters, which every replica answers alike, and this replica's own traffic."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serve_app.http.desk import Desk
from serve_app.runs.tally import families_of
from serve_app.telemetry.metrics import MEDIA_TYPE, exposition


async def scrape(request: Request, service: Desk) -> Response:
    """Return the metrics in Prometheus' text format."""
    traffic = request.app.state.traffic
    families = [*families_of(await service.figures()), *traffic.families()]
    return Response(exposition(families), headers={"Cache-Control": "no-store"}, media_type=MEDIA_TYPE)
