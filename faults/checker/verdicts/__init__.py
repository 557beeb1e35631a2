"""The invariants, in the order in which they are shown."""

from collections.abc import Callable

from faults.checker.facts import Facts
from faults.checker.values import Verdict
from faults.checker.verdicts import arriving, campaigning, obeying, reading, telling

INVARIANTS: tuple[Callable[[Facts], Verdict], ...] = (
    arriving.lost,
    arriving.dup,
    arriving.doubts,
    arriving.doubled_doubts,
    arriving.phantom,
    obeying.wrong,
    telling.balance,
    arriving.replayed,
    campaigning.campaigns,
    obeying.late,
    obeying.early,
    obeying.order,
    telling.regress,
    telling.told,
    telling.answer,
    telling.analytics,
    telling.differs,
    telling.quiet,
    reading.burn,
    reading.stuck,
    reading.offsets,
)


def verdicts(facts: Facts) -> list[Verdict]:
    """Every invariant's verdict."""
    return [invariant(facts) for invariant in INVARIANTS]
