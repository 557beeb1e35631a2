"""The clock of the workers jumps, forwards and backwards, while they run."""

from dataclasses import replace

from faults.load import Shape
from faults.record import unix_ms
from faults.scene import LONG, SHORT, Experiment, Scene
from faults.system import ALL_IN_FLIGHT

_HOUR_MS = 3_600_000
#: What is set for a moment of a clock that ran ahead has to wait for it, so ahead it is for less than a minute.
_LONG = (-2 * _HOUR_MS, 0, 45_000, 0, -30_000, 5_000, 0)
_SHORT = (-2 * _HOUR_MS, 0, -30_000, 0)


async def _jump(scene: Scene) -> None:
    for ms in _SHORT if scene.short else _LONG:
        await scene.pause(*((0.3, 1.0) if scene.short else (2.0, 4.0)))
        # What was under way is then older than any call may be, so it is in doubt at once.
        scene.record.inject("clock", in_flight=ALL_IN_FLIGHT, until_ms=unix_ms(), clock_ms=ms)
        scene.system.clock_off_by(ms)


def _untimed(shape: Shape) -> Shape:
    """Without what has a time of its own: it would be judged by the true clock, and the workers' is wrong."""
    return replace(shape, scheduled=0.0, expiring=0.0)


EXPERIMENTS = (
    Experiment(
        "clocks",
        "The workers' clock jumps: two hours back and on again, 45 s ahead and back, 30 s back.",
        _jump,
        load=_untimed(LONG),
        short_load=_untimed(SHORT),
    ),
)
