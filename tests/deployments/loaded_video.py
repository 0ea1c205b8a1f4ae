"""A stage that makes clips, loaded with tiny weights, and the desk that it reports to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serve_app.core.media import Clip, Image
from serve_app.core.stage import Strict
from tests.deployments.desk import DeskContext

PROMPT = "a red fox walks through snow"
SEED = 7


@dataclass
class LoadedVideo:
    """``stage`` is loaded; ``small`` are its params for the smallest clip that shows everything."""

    stage: Any
    desk: DeskContext
    small: Strict

    def make(self, prompt: str = PROMPT, seed: int = SEED, image: Image | None = None, **changes: Any) -> Clip:
        """Run the stage with ``small`` and ``changes`` to it, on an empty desk; ``adapters`` are worn."""
        self.desk.clear()
        taken = {"image": image, "adapters": changes.pop("adapters", None)}
        taken = {port: value for port, value in taken.items() if value is not None}
        params = type(self.small)(**{**self.small.model_dump(), **changes})
        clip: Clip = self.stage.run(params, prompt=prompt, seed=seed, **taken)
        return clip

    def refuse_after(self, steps: int | None) -> None:
        """Cancel the next runs after ``steps`` steps; None cancels nothing any more."""
        self.desk.cancel_after = steps
