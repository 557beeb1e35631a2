"""Which tests may run at the same time: ``make test`` runs them in two processes.

What starts whole systems or brokers stands in one lane, one after the other in one process: two systems at once would
be too much for two cores, and fixtures that start one would start it twice. The rest goes file by file to who is free.
"""

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

_SYSTEMS = ("tests/faults/", "tests/e2e/", "tests/integration/")


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """The lane of the systems, which is the longest, begins at once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "systems" if starts_systems(file) else file

    def remove_node(self, node: WorkerController) -> str | None:
        """The test that ended its process has failed; xdist alone would run it again in the next, which it ends too."""
        for tests in self.assigned_work[node].values():
            nodeid: str
            for nodeid, is_done in tests.items():
                if not is_done:
                    tests[nodeid] = True
                    super().remove_node(node)
                    return nodeid
        undone: str | None = super().remove_node(node)
        return undone


def starts_systems(path: str) -> bool:
    return path.startswith(_SYSTEMS)
