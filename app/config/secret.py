"""The installation's secret: signs what only Tocsin's own processes may write, the same for all of them."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.keyed import HashKeys

if TYPE_CHECKING:
    from app.config import Settings

FILE = "secret"
_LEAST_BYTES = 32


class NoSecret(Exception):
    """The file that holds the secret can't be used; says why and what to do, and never what it holds."""


def installation_secret(settings: "Settings") -> bytes:
    """The setting ``installation.secret``, else the file ``secret`` in ``data.dir``, which is made where there is none.

    Raises NoSecret.
    """
    if settings.installation.secret is not None:
        return settings.installation.secret.get_secret_value().encode()
    path = settings.data.dir / FILE
    try:
        if not path.exists():
            _make(path)
        held = path.read_bytes().strip()
    except OSError as error:
        raise NoSecret(f"{path}: {error.strerror}: make it readable, or set installation.secret") from None
    if len(held) < _LEAST_BYTES:
        raise NoSecret(f"{path} is shorter than {_LEAST_BYTES} bytes: delete it, or set installation.secret")
    return held


def suppression_keys(settings: "Settings") -> HashKeys:
    """What addresses on the suppression list are hashed with. Raises NoSecret."""
    former = tuple(each.get_secret_value() for each in settings.installation.former_secrets)
    return HashKeys(installation_secret(settings), former)


def _make(path: Path) -> None:
    """Whole from the first moment, whoever else makes it at the same time: the first one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # for its owner only
    made = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()
