"""Reads of users' state between our own processes: each request is signed, and so is its answer.

The secret itself never travels, so that whoever gets a request, by a forged address or from the wire, can't make
another. The host is signed, too: a request that was sent to one process is refused by all others.
"""

import re
from typing import Final

from app.domain.signatures import is_signature, signature_of

SCHEME = "Tocsin-HMAC-SHA256"
#: The answer's header.
PROOF = "Tocsin-Signature"
#: How far the clocks of two machines may be apart, the way of the request included.
VALID_MS: Final = 60_000

_REQUEST, _ANSWER = b"tocsin state request 1", b"tocsin state answer 1"
_HEADER = re.compile(rf"{SCHEME} at=(?P<at>[0-9]{{1,15}}), signature=(?P<signature>[0-9a-f]{{64}})")


def authorization(secret: bytes, method: str, host: str, target: str, at: int) -> str:
    """The header ``Authorization``. ``host``: as in the header of that name; ``target``: path and query as they stand
    in the request's line; ``at``: Unix milliseconds."""
    return f"{SCHEME} at={at}, signature={_request_signature(secret, method, host, target, at)}"


def refusal(secret: bytes, header: str, method: str, host: str, target: str, now: int) -> str | None:
    """Why a request isn't answered; None: it is."""
    given = _HEADER.fullmatch(header)
    if given is None:
        return "the request isn't signed"
    at = int(given["at"])
    if not is_signature(_request_signature(secret, method, host, target, at), given["signature"].encode()):
        return "the signature doesn't match: both processes need the same installation.secret"
    if abs(now - at) > VALID_MS:
        return f"the request was signed {(now - at) / 1000:g} s ago by this machine's clock: the clocks must agree"
    return None


def proof(secret: bytes, header: str, status: int, body: bytes) -> str:
    """The answer's signature. ``header``: the request's ``Authorization``, which no other request has."""
    return signature_of(secret, _ANSWER, (header.encode(), str(status).encode(), body))


def is_proven(secret: bytes, header: str, status: int, body: bytes, given: str) -> bool:
    """Whether this is the answer of one of our processes to that request."""
    return is_signature(proof(secret, header, status, body), given.encode("utf-8", "surrogateescape"))


def _request_signature(secret: bytes, method: str, host: str, target: str, at: int) -> str:
    parts = (method, host.lower(), target, str(at))
    return signature_of(secret, _REQUEST, [part.encode("utf-8", "surrogateescape") for part in parts])
