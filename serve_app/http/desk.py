"""What every handler asks for: the service behind the API, and the parts of an address."""

# No postponed annotations here: FastAPI resolves these aliases where the handlers that use them are defined.
from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import Request

from serve_app.http.service import Service


def service_of(request: Request) -> Service:
    """Return the service that the API was made with."""
    service: Service = request.app.state.service
    return service


def base_of(request: Request) -> str:
    """Return the prefix that the API is mounted at, without a slash at its end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


Desk = Annotated[Service, Depends(service_of)]
Base = Annotated[str, Depends(base_of)]
RunId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="The run's id, of your own choice or ours.")]
SweepId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,40}$", description="The sweep's id, of your choice or ours.")]
