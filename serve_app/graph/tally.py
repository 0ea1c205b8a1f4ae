"""The progress of a step that is worked off in chunks, as one count of frames."""

from __future__ import annotations

from collections.abc import Callable


class Tally:
    """Adds up what is done of each chunk, and tells ``tell`` (frames done, frames in all)."""

    def __init__(self, tell: Callable[[int, int], None], frames: int) -> None:
        self._tell, self._frames = tell, frames
        self._done: dict[int, int] = {}

    def teller(self, index: int, frames: int) -> Callable[[int, int], None]:
        """Return who hears of chunk ``index``, of ``frames`` frames, in whatever unit its stage counts."""

        def tell(done: int, of: int) -> None:
            self._done[index] = frames * done // max(1, of)
            self._tell(min(self._frames, sum(self._done.values())), self._frames)

        return tell
