"""Who runs a command, and where: for the audit log."""

import getpass
import re
import socket

_OTHERS = re.compile(r"[^\w.+-]", re.ASCII)


def run_by() -> str:
    """``user@host``, as far as it is known."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = "unknown"
    return "@".join(_OTHERS.sub("-", part)[:50] for part in (user, socket.gethostname()))
