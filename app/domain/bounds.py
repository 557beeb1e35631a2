"""What the settings allow that is judged where records are read, so that every role judges alike."""

from dataclasses import dataclass

from schemas.links import SCHEMES


@dataclass(frozen=True, slots=True)
class Bounds:
    #: Devices of one user; the one that was added or renewed longest ago makes room for the next.
    devices: int = 20
    #: What links may begin with, in lower case.
    link_schemes: frozenset[str] = SCHEMES
    #: Hosts, or ``host:port``, that a web push subscription may name though they aren't public.
    push_hosts: frozenset[str] = frozenset()
    #: Codes that a user may ask for in an hour, to verify an address.
    codes: int = 5
    #: The share of requests that bring no trace context of which a trace is begun, 0 to 1; None: there are no traces.
    traced: float | None = None


DEFAULT_BOUNDS = Bounds()
