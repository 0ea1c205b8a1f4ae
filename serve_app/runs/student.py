"""Student's t distribution: its distribution function and quantiles, from the standard library alone.

Few runs are dear, so samples are small and the normal distribution would claim too much. The distribution function is
the regularised incomplete beta function, https://dlmf.nist.gov/8.17, by its continued fraction (8.17.22).
"""

from __future__ import annotations

import math
from functools import lru_cache

_TERMS = 10_000
_CLOSE = 1e-15
_TINY = 1e-300


def t_cdf(t: float, df: float) -> float:
    """Return the probability that a t variable with ``df`` > 0 degrees of freedom is at most ``t``."""
    if t == 0:
        return 0.5
    tail = 0.5 * _beta_fraction(df / (df + t * t), df / 2, 0.5)
    return tail if t < 0 else 1.0 - tail


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: int) -> float:
    """Return the ``t`` below which a t variable with ``df`` (1 or more) degrees of freedom lies with probability ``p``.

    ``p`` lies between 0 and 1, exclusive. Exact to about 1e-12 of its size. Raises ValueError outside of these ranges.
    """
    if not 0 < p < 1 or df < 1:
        raise ValueError(f"no t quantile for p={p} and df={df}")
    if p == 0.5:
        return 0.0
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        low, high = high, 2 * high
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) for 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on one side only
        return 1.0 - _beta_fraction(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _continued(x, a, b))


def _continued(x: float, a: float, b: float) -> float:
    """Return 1 + d1/(1 + d2/(1 + ...)) of DLMF 8.17.22, by Lentz's way from the front."""
    value = front = 1.0
    behind = 0.0
    for step in range(1, _TERMS):
        half = step // 2
        if step % 2:
            d = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            d = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        behind = 1.0 / ((1.0 + d * behind) or _TINY)
        front = (1.0 + d / front) or _TINY
        value *= front * behind
        if abs(front * behind - 1.0) < _CLOSE:
            break
    return value
