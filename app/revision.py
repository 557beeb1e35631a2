"""Which code decides: a mark that is the same wherever the same code runs."""

from functools import cache
from hashlib import blake2b
from pathlib import Path

_HERE = Path(__file__).parent
#: What decisions are made of.
_DECIDING = (_HERE.parent / "agents", _HERE.parent / "schemas", _HERE.parent / "tables", _HERE / "domain")


@cache
def code_mark() -> bytes:
    """Eight bytes of a hash over the modules that decide."""
    digest = blake2b(digest_size=8)
    for folder in _DECIDING:
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{file.relative_to(folder)}\n".encode())
            digest.update(file.read_bytes())
    return digest.digest()
