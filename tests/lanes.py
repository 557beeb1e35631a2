"""Which tests may run at the same time: ``make test`` runs them in two processes.

What starts whole systems or brokers stands in one lane, one after the other in one process: two systems at once would
be too much for two cores, and fixtures that start one would start it twice. The rest goes file by file to who is free.
"""

from xdist.scheduler import LoadScopeScheduling

_SYSTEMS = ("tests/faults/", "tests/e2e/", "tests/integration/")


class Lanes(LoadScopeScheduling):
    """The lane of the systems, which is the longest, begins at once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "systems" if starts_systems(file) else file


def starts_systems(path: str) -> bool:
    return path.startswith(_SYSTEMS)
