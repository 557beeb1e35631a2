"""Figures as horizontal bars, in SVG."""

import math
from collections.abc import Sequence
from html import escape

from msgspec import Struct

from bench.figures import shown

_WIDTH, _LABEL, _VALUE = 860, 250, 110
_ROW, _TITLE, _GAP, _MARGIN = 24, 34, 22, 16
_COLOURS = ("#3b6ea8", "#c8553d", "#5b8c5a", "#8a6fb0")
_DECADES_BELOW = 0.5


class Bar(Struct, frozen=True):
    """``group``: bars of one group have one colour."""

    label: str
    value: float
    group: int = 0


class Panel(Struct, frozen=True):
    """Some bars on one axis, from zero; ``log``: by their orders of magnitude."""

    title: str
    unit: str
    bars: Sequence[Bar]
    log: bool = False


def plot(panels: Sequence[Panel]) -> str:
    """One picture, the panels below each other. Panels without bars are left out."""
    parts: list[str] = []
    top = float(_MARGIN)
    for panel in panels:
        if panel.bars:
            parts += _panel(panel, top)
            top += _TITLE + _ROW * len(panel.bars) + _GAP
    height = round(top + _MARGIN - _GAP)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">'
    )
    return "\n".join((head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""))


def _panel(panel: Panel, top: float) -> list[str]:
    scale = " (logarithmic)" if panel.log else ""
    parts = [f'<text x="{_MARGIN}" y="{top + 16:g}" font-weight="bold">{escape(panel.title + scale)}</text>']
    lengths = _lengths(panel)
    for nth, (bar, length) in enumerate(zip(panel.bars, lengths, strict=True)):
        y = top + _TITLE + nth * _ROW
        x = _MARGIN + _LABEL
        parts += [
            f'<text x="{x - 8}" y="{y + 13:g}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{x}" y="{y:g}" width="{length:.1f}" height="17" fill="{_COLOURS[bar.group % len(_COLOURS)]}"/>',
            f'<text x="{x + length + 6:.1f}" y="{y + 13:g}">{escape(f"{shown(bar.value)} {panel.unit}")}</text>',
        ]
    return parts


def _lengths(panel: Panel) -> list[float]:
    room = _WIDTH - 2 * _MARGIN - _LABEL - _VALUE
    values = [max(bar.value, 1e-9) for bar in panel.bars]
    if panel.log:
        lowest = math.log10(min(values)) - _DECADES_BELOW
        values = [math.log10(value) - lowest for value in values]
    return [room * value / max(values) for value in values]
