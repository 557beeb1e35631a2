"""Free ports on this machine."""

import random
import socket

_LOOPBACK = "127.0.0.1"
#: Systems give higher ones to outgoing connections: such a port may be taken before its server listens at it, and
#: while a server is away its own clients, trying again and again, may come to hold it themselves.
_PORTS = range(20_000, 32_768)
_ATTEMPTS = 100


def free_port(preferred: int = 0) -> int:
    """The preferred port of 127.0.0.1 if nobody listens there, else any free one that no connection takes by chance."""
    wanted = [preferred] if preferred else []
    for port in wanted + random.sample(_PORTS, _ATTEMPTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one just stopped is free
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError("no free port on 127.0.0.1")
