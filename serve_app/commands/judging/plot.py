"""A measure over time as an SVG: the curve, its limits, and the frames beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from serve_app.core.score import Series

_WIDTH, _HEIGHT = 360, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 20
_MOST_MARKS = 60
TITLES = {
    "luma_min": "Light",
    "contrast_min": "Contrast",
    "blur": "Fine detail",
    "motion": "Change per frame",
    "flicker": "Flicker",
    "stutter": "Jerk",
    "cut": "Break between frames",
    "torn": "Lost likeness",
    "lost": "Lost pixels",
    "changed": "Changed shapes",
    "detail": "Lost detail",
}


def plot(series: Series, frames: int, pointed_at: Sequence[int]) -> str:
    """Return an `<svg>` of ``series`` over a clip of ``frames``; ``pointed_at`` are frames that its detector named."""
    scale = _Scale(series, frames)
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_spoken(series))}">',
        *_grid(scale),
        *(_vertical(scale, frame) for frame in pointed_at if frame < frames),
        *_limits(series, scale),
        _curve(series, scale),
        *_marks(series, scale),
        "</svg>",
    ]
    return "".join(parts)


class _Scale:
    """Frames to x, values to y; both limits are in sight unless they are far from anything measured."""

    def __init__(self, series: Series, frames: int) -> None:
        values = series.values or (0.0,)
        high = max(values)
        low = min(values) if min(values) < -0.05 * abs(high) else 0.0
        for limit in (series.warn_at, series.fail_at):
            if limit is not None and (series.is_floor or limit <= max(4 * high, series.warn_at or limit)):
                high = max(high, 1.12 * limit)
        self.low, self.high = low, (high if high > low else low + 1.0) * 1.04
        self.last = max(1, frames - 1)

    def x(self, frame: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * frame / self.last

    def y(self, value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - (max(value, self.low) - self.low) / (self.high - self.low))


def _spoken(series: Series) -> str:
    span = f"from {min(series.values):.3g} to {max(series.values):.3g} {series.unit}" if series.values else "no values"
    return f"{TITLES.get(series.measure, series.measure)} over time, {span}"


def _grid(scale: _Scale) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        value = scale.low + share * (scale.high - scale.low)
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 3:.1f}" text-anchor="end">{_short(value)}</text>')
    for frame, anchor in ((0, "start"), (scale.last, "end")):
        x, y = scale.x(frame), _HEIGHT - 5
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{frame}</text>')
    return parts


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"


def _vertical(scale: _Scale, frame: int) -> str:
    x = scale.x(frame)
    return (
        f'<line class="at" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"><title>frame {frame}</title>'
        "</line>"
    )


def _limits(series: Series, scale: _Scale) -> list[str]:
    parts = []
    for word, limit in (("warn", series.warn_at), ("fail", series.fail_at)):
        if limit is None or not scale.low <= limit <= scale.high:
            continue
        y = scale.y(limit)
        parts.append(
            f'<line class="limit {word}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}">'
            f"<title>{word} {'below' if series.is_floor else 'above'} {limit:.4g}</title></line>"
        )
    return parts


def _curve(series: Series, scale: _Scale) -> str:
    points = [f"{scale.x(at):.1f},{scale.y(value):.1f}" for at, value in zip(series.frames, series.values, strict=True)]
    dots = "".join(
        f'<circle class="dot" cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="2"/>'
        for point in (points if len(points) <= 12 else ())
    )
    return f'<polyline class="curve" points="{" ".join(points)}"/>{dots}'


def _marks(series: Series, scale: _Scale) -> list[str]:
    """Mark the values beyond a limit, the worst first where there are too many."""
    sign = -1 if series.is_floor else 1
    beyond = []
    for at, value in zip(series.frames, series.values, strict=True):
        for word, limit in (("fail", series.fail_at), ("warn", series.warn_at)):
            if limit is not None and sign * value > sign * limit:
                beyond.append((sign * value, at, value, word))
                break
    worst = sorted(beyond, reverse=True)[:_MOST_MARKS]
    return [
        f'<circle class="mark {word}" cx="{scale.x(at):.1f}" cy="{scale.y(value):.1f}" r="3">'
        f"<title>frame {at}: {value:.4g} {escape(series.unit)}</title></circle>"
        for _, at, value, word in sorted(worst, key=lambda each: each[1])
    ]
