"""Whether variants differ: shares with their intervals, differences with theirs, and how many sends would tell.

Intervals hold the true value in 95 of 100 experiments: Wilson's of a share, Newcombe's hybrid score interval of a
difference (Newcombe 1998), by statsmodels, which the extra ``experiments`` brings. Where several variants are compared
with one, each must pass a stricter test (Bonferroni), or some would win by luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: What an interval misses, and the chance with which a difference that is there should be found.
ALPHA, POWER = 0.05, 0.8
#: Above this a difference is too small for anybody to wait for it.
_MOST_NEEDED = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``of``; the value and its interval are None where there is nothing to count."""

    count: int
    of: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two shares, in absolute terms: 0.02 is two percentage points. ``enough``: whether the interval, made wide
    enough for the number of comparisons, excludes zero. ``needed``: where it isn't enough, of how many in each group a
    difference like this would probably show; None where there is none to see."""

    value: float
    low: float
    high: float
    enough: bool
    needed: int | None = None


def share(count: int, of: int) -> Share:
    from statsmodels.stats.proportion import proportion_confint  # type: ignore[import-untyped]

    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of}")
    if of == 0:
        return Share(count, of)
    low, high = proportion_confint(count, of, ALPHA, method="wilson")
    value = count / of
    return Share(count, of, value, min(float(low), value), max(float(high), value))  # (it may round past the value)


def difference(one: Share, baseline: Share, comparisons: int = 1) -> Difference | None:
    """``one`` less ``baseline``; None where one of them is empty."""
    if one.value is None or baseline.value is None:
        return None
    value = one.value - baseline.value
    low, high = _interval(one, baseline, ALPHA)
    strict_low, strict_high = _interval(one, baseline, ALPHA / comparisons)
    enough = not strict_low <= 0 <= strict_high
    needed = None if enough or value == 0 else _needed(one.value, baseline.value, ALPHA / comparisons)
    return Difference(value, low, high, enough, needed)


def _interval(one: Share, baseline: Share, alpha: float) -> tuple[float, float]:
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(
        one.count, one.of, baseline.count, baseline.of, method="newcomb", compare="diff", alpha=alpha
    )
    return float(low), float(high)


def _needed(one: float, baseline: float, alpha: float) -> int | None:
    from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

    number = samplesize_proportions_2indep_onetail(abs(one - baseline), min(one, baseline), POWER, alpha=alpha)
    return round(number) if number == number and number < _MOST_NEEDED else None


def baseline_of(variants: Sequence[str | None], named: str | None = None) -> str | None:
    """What the others are compared with: the one that is named, else ``control``, else the first by name. Raises
    ValueError where none has that name."""
    if named is not None and named not in variants:
        there = ", ".join(sorted(variant for variant in variants if variant is not None)) or "none"
        raise ValueError(f"{named} isn't among the variants: {there}")
    if named is not None:
        return named
    return "control" if "control" in variants else min(variants, key=lambda variant: variant or "")
