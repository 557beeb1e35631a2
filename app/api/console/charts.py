"""Charts as SVG, drawn here: they need no script, and can be read by a screen reader as a table beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.instants import parse_ms, rfc3339

_WIDTH, _HEIGHT = 640, 160
_LEFT, _BOTTOM, _TOP = 44, 22, 8
_GRID_LINES = 4
#: Lines that can be told apart.
MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars. A series' class in the style sheet is ``of-`` and its name. ``grid``: (y, words) of each line;
    ``ticks``: (x, words, the instant in RFC 3339 or nothing) below."""

    width: int
    height: int
    left: int
    bars: Sequence[Bar]
    grid: Sequence[tuple[float, str]]
    ticks: Sequence[tuple[float, str, str]]
    legend: Sequence[tuple[str, str]]
    title: str
    is_empty: bool


def stacked(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], moments: Sequence[int] = ()
) -> Chart:
    """One bar a label, with each series' value on top of those before. All series are as long as ``labels``, and so is
    ``moments``, where labels are of some: Unix ms."""
    totals = [sum(values[n] for values in series.values()) for n in range(len(labels))]
    most = nice_above(max(totals, default=0.0))
    plot_height, plot_width = _HEIGHT - _TOP - _BOTTOM, _WIDTH - _LEFT
    step = plot_width / max(1, len(labels))
    css = {name: f"of-{name}" for name in series}
    bars = []
    for n, label in enumerate(labels):
        below = 0.0
        for name, values in series.items():
            if values[n]:
                height = values[n] / most * plot_height
                below += height
                y = _HEIGHT - _BOTTOM - below
                at = f"{label} UTC" if moments else label
                words = f"{at} {name}: {values[n]:g}"
                bars.append(Bar(_LEFT + n * step, y, max(1.0, step * 0.8), height, css[name], words))
    every = max(1, len(labels) // 6)
    ticks = [
        (_LEFT + n * step, label, rfc3339(moments[n]) if moments else "")
        for n, label in enumerate(labels)
        if n % every == 0
    ]
    return Chart(
        _WIDTH, _HEIGHT, _LEFT, bars, _grid(most), ticks, [(name, css[name]) for name in series], title, not any(totals)
    )


@dataclass(frozen=True, slots=True)
class Lines:
    """One line for each series. A line's class in the style sheet is ``line-`` and its number. ``lines``: (class,
    points as SVG writes them, name); a single point stands twice, and shows as a dot."""

    width: int
    height: int
    left: int
    lines: Sequence[tuple[str, str, str]]
    grid: Sequence[tuple[float, str]]
    ticks: Sequence[tuple[float, str, str]]


def lines(labels: Sequence[str], series: Mapping[str, Mapping[str, float]]) -> Lines:
    """``series``: by name, values by label, none where there are none. The largest are drawn, as many as can be told
    apart."""
    largest = sorted(series, key=lambda name: -max(series[name].values(), default=0.0))[:MOST_LINES]
    most = nice_above(max((value for name in largest for value in series[name].values()), default=0.0))
    plot_height, step = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT - 8) / max(1, len(labels) - 1)
    x_of = {label: _LEFT + n * step for n, label in enumerate(labels)}
    drawn = []
    for number, name in enumerate(largest):
        points = [
            f"{x_of[label]:.1f},{_HEIGHT - _BOTTOM - max(0.0, series[name][label]) / most * plot_height:.1f}"
            for label in labels
            if label in series[name]
        ]
        drawn.append((f"line-{number}", " ".join(points * 2 if len(points) == 1 else points), name))
    every = max(1, -(-len(labels) // 5))
    ticks = [(x_of[label], label[5:16], _instant(label)) for n, label in enumerate(labels) if n % every == 0]
    return Lines(_WIDTH, _HEIGHT, _LEFT, drawn, _grid(most), ticks)


@dataclass(frozen=True, slots=True)
class Ranks:
    """One bar a row, from left to right. ``rows``: (y, words, width, number), in the order that they came in; ``more``:
    how many rows aren't drawn."""

    name: str
    width: int
    height: int
    left: int
    rows: Sequence[tuple[float, str, float, str]]
    more: int


#: Bars that a picture holds, and how much of each one's name.
MOST_RANKS = 30
_MOST_LABEL = 40
_RANK_HEIGHT, _RANKS_LEFT, _RANKS_RIGHT = 15, 200, 44


def ranked(name: str, labels: Sequence[str], values: Sequence[float]) -> Ranks:
    """``values``: none is negative. ``name``: of what they count."""
    shown = list(zip(labels, values, strict=True))[:MOST_RANKS]
    most = max((value for _, value in shown), default=0.0) or 1.0
    rows = [
        (
            n * _RANK_HEIGHT,
            label if len(label) <= _MOST_LABEL else f"{label[: _MOST_LABEL - 1]}…",
            value / most * (_WIDTH - _RANKS_LEFT - _RANKS_RIGHT),
            short(value),
        )
        for n, (label, value) in enumerate(shown)
    ]
    return Ranks(name, _WIDTH, _RANK_HEIGHT * len(shown), _RANKS_LEFT, rows, len(labels) - len(shown))


def _instant(label: str) -> str:
    """Of a moment as ClickHouse writes it, which is in UTC; nothing of a day, or what is no moment."""
    written = f"{label[:10]}T{label[11:].rstrip('Z')}Z"
    try:
        return rfc3339(parse_ms(written))
    except ValueError:
        return ""


def _grid(most: float) -> list[tuple[float, str]]:
    parts = [n / _GRID_LINES for n in range(_GRID_LINES + 1)]
    return [(_HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM), short(part * most)) for part in parts]


def nice_above(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten; 4 for what is smaller, so that grid lines are whole."""
    step = 4.0
    while step < value:
        for factor in (1.25, 2.5, 5.0, 10.0):
            if step * factor >= value:
                return step * factor
        step *= 10
    return step


def short(value: float) -> str:
    """A number in few characters."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:g}"
