"""What a process that does the router's job in another way is given: the workload, and topics of its own."""

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.workload import Workload

#: Where a stock app writes how long its tables' recovery took.
RECOVERY_FILE = "recovery"


class Rival(Struct, frozen=True, kw_only=True):
    """``name``: also its consumer group. ``folder``: takes what it keeps on disk."""

    name: str
    bootstrap: str
    load: Workload
    folder: str

    def topic(self, ours: str) -> str:
        """Where it produces what the router would produce to ``ours``."""
        return f"{self.name}-{ours}"

    def changelog(self, table: str) -> str:
        return f"{self.name}-{table}-changelog"

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(self))
        return path


def rival() -> Rival:
    """What the first argument names."""
    return msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Rival)
