"""A video job on a server that speaks `/v1/videos`: ordered, watched, fetched; or stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from deployments.nets.remote.journal import Journal
from deployments.nets.remote.order import order, pause, watched
from deployments.nets.remote.server import Ask, Server
from serve_app.core.errors import Cancelled, StageFailed
from serve_app.core.stage import Context


@dataclass(frozen=True)
class Patience:
    """``poll_s`` between two looks, and ``deadline_s`` for the whole job."""

    poll_s: float
    deadline_s: float
    stop: Literal["cancel", "delete", "none"]


class Job:
    """One job. ``on_taken`` hears, once, that the server has taken it or may have; not again from a successor."""

    def __init__(
        self, server: Server, journal: Journal, patience: Patience, context: Context, on_taken: Callable[[], None]
    ) -> None:
        self._server, self._journal, self._patience = server, journal, patience
        self._context, self._on_taken = context, on_taken

    async def carry_out(self, ask: Ask, stage: str, most_bytes: int) -> tuple[bytes, dict[str, Any]]:
        """Return the file, of ``most_bytes`` at the most, and the server's last word on the job.

        Raises StageFailed when it failed there, ran out of time, or may have been sent already without an answer;
        Cancelled after the server was told; and what `Server.order` raises.
        """
        with self._journal.held(ask.key, self._context.check):
            job = await self._take(ask, stage)
            try:
                view = await self._watch(ask, job, stage)
                content = await watched(self._server.fetch(f"{ask.path}/{job}/content", most_bytes), self._context)
            except Cancelled:
                await self._stop(ask, job)
                raise
            self._journal.forget(ask.key)
            return content, view

    async def _take(self, ask: Ask, stage: str) -> str:
        """Return the job's id: the one that is known, or that of a new one."""
        known = self._journal.read(ask.key)
        if known is not None and known.job is not None:
            self._context.note("resumed_job", known.job)
            if not known.is_charged:
                self._on_taken()
            return known.job
        try:
            entry, view = await order(self._server, self._journal, ask, self._context, stage)
        except Cancelled:
            self._on_taken()
            raise
        job = str(view.get("id") or "")
        if not job:
            raise StageFailed(stage, "BadAnswer", "the server took the request and gave it no id")
        self._on_taken()
        self._journal.took(ask.key, entry, job)
        return job

    async def _watch(self, ask: Ask, job: str, stage: str) -> dict[str, Any]:
        began, done = time.monotonic(), 0
        while True:
            answer = await watched(self._server.get(f"{ask.path}/{job}", may_be_gone=True), self._context)
            if answer.status_code == 404:
                self._journal.forget(ask.key)
                raise StageFailed(stage, "Gone", f"the server has forgotten {job}")
            view = self._server.document(answer)
            state = view.get("status")
            done = max(done, _percent(view.get("progress")))
            self._context.progress(done, 100)
            if state == "completed":
                return view
            if state not in ("queued", "in_progress"):
                self._journal.forget(ask.key)
                raise StageFailed(stage, *_fault(view, str(state)))
            if time.monotonic() - began > self._patience.deadline_s:
                await self._stop(ask, job)
                raise StageFailed(stage, "TooLate", f"{job} has not ended after {self._patience.deadline_s:g} s")
            asked_ms = answer.headers.get("openai-poll-after-ms", "")
            await pause(float(asked_ms) / 1000 if asked_ms.isdigit() else self._patience.poll_s, self._context)

    async def _stop(self, ask: Ask, job: str) -> None:
        """Tell the server, and say in the report whether it listened."""
        wish, path = self._patience.stop, f"{ask.path}/{job}"
        is_stopped = wish == "cancel" and await self._server.stop("POST", f"{path}/cancel")
        if wish != "none" and not is_stopped:
            is_stopped = await self._server.stop("DELETE", path)
        self._context.note("stopped_at_server", is_stopped)
        self._journal.forget(ask.key)


def _percent(said: Any) -> int:
    """Return the progress that a server tells, 0 to 100; 0 where it tells something else."""
    return min(100, max(0, int(said))) if isinstance(said, int | float) and said == said else 0


def _fault(view: dict[str, Any], state: str) -> tuple[str, str]:
    error = view.get("error")
    if not isinstance(error, dict):
        return state, str(error or "no reason given")[:300]
    return str(error.get("code") or state), str(error.get("message") or "no reason given")[:300]
