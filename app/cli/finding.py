"""What ``tocsin doctor`` found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """``ok``: None for what is neither right nor wrong, such as a provider that isn't used."""

    check: str
    ok: bool | None
    found: str
    remedy: str = ""
