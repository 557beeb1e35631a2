"""The watch sees what stands still though it has something to do, and nothing else."""

from app.streaming.stall_detection import Progress, StallDetector


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_gets_on_is_left_out() -> None:
    clock = Clock()
    watch = StallDetector(clock)
    for done in range(3):
        clock.now += 10
        assert watch.look({"deciding": Progress(done, True)}) == {}


def test_what_has_nothing_to_do_may_stand_still() -> None:
    clock = Clock()
    watch = StallDetector(clock)
    for _ in range(3):
        clock.now += 100
        assert watch.look({"deciding": Progress(7, False)}) == {}


def test_how_long_it_stands_still_counts_from_when_it_had_something_to_do() -> None:
    clock = Clock()
    watch = StallDetector(clock)
    watch.look({"deciding": Progress(7, False)})
    clock.now += 50
    watch.look({"deciding": Progress(7, True)})
    clock.now += 20

    assert watch.look({"deciding": Progress(7, True)}) == {"deciding": 70.0}
