"""Signatures under the installation's secret: only Tocsin's own processes can make them."""

import hmac
from collections.abc import Iterable
from hashlib import sha256


def signature_of(secret: bytes, use: bytes, parts: Iterable[bytes | None]) -> str:
    """HMAC-SHA256 of the parts, in hex. ``use``: its purpose, so that it is good for no other."""
    signed = hmac.new(secret, digestmod=sha256)
    for part in (use, *parts):
        # Lengths tell where a part ends; null isn't empty.
        signed.update((-1 if part is None else len(part)).to_bytes(8, "big", signed=True))
        signed.update(part or b"")
    return signed.hexdigest()


def is_signature(expected: str, given: bytes) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(expected.encode(), given)
