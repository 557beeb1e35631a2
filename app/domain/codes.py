"""Codes that verify an address, and what stands for one where it must not stand itself.

A code is made anew from the installation's secret wherever it is needed: by the sender that renders it and by the
router that checks it. Nothing holds it, so that reading topics, tables or backups shows none.
"""

from app.domain.signatures import is_signature, signature_of

_DIGITS = 6
_CODES = 10**_DIGITS

#: Tell these uses of the installation's secret from each other, and from all others.
_CODE, _MARK, _PROOF = (b"tocsin verification %s 1" % use for use in (b"code", b"address", b"proof"))


def code_of(secret: bytes, user_id: str, channel: str, address: str, name: str) -> str:
    """Six digits. ``name``: of the code, a random UUID: it makes each code another one, whatever else is the same."""
    return f"{int(_mac(secret, _CODE, user_id, channel, address, name), 16) % _CODES:0{_DIGITS}}"


def mark_of(secret: bytes, user_id: str, channel: str, address: str, name: str) -> str:
    """Names the address that a code is for. Nobody else can tell the address from it, or make one for another."""
    return _mac(secret, _MARK, user_id, channel, address, name)


def proof_of(secret: bytes, user_id: str, channel: str, code: str, check: str) -> str:
    """Stands for a code that a user gave. ``check``: names the one check that it is good for."""
    return _mac(secret, _PROOF, user_id, channel, code, check)


def is_code(text: str) -> bool:
    """Whether it has a code's form."""
    return len(text) == _DIGITS and text.isascii() and text.isdigit()


def same(expected: str, given: str) -> bool:
    """Whether two marks or proofs are the same, in the same time whatever they are."""
    return is_signature(expected, given.encode())


def _mac(secret: bytes, use: bytes, *parts: str) -> str:
    if not secret:
        raise ValueError("codes need the installation's secret")
    return signature_of(secret, use, [part.encode() for part in parts])
