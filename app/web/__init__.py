"""What the gateway serves to browsers: the component that shows an inbox (``clients/web``)."""

from base64 import b64encode
from functools import cache
from hashlib import sha256, sha384
from importlib.resources import files

COMPONENT = "tocsin-inbox.js"
#: The same with its hash.
HASHED = "tocsin-inbox.{}.js"


@cache
def component() -> bytes:
    return files(__name__).joinpath(COMPONENT).read_bytes()


def hashed(script: bytes) -> str:
    """For an address that never means another one."""
    return sha256(script).hexdigest()[:16]


def integrity(script: bytes) -> str:
    """For a page's ``integrity`` (W3C Subresource Integrity)."""
    return f"sha384-{b64encode(sha384(script).digest()).decode()}"
