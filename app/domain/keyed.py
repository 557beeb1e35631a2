"""Keyed hashes: what stays of an address that nothing may be sent to any more.

A plain hash of a mail address or a number is no secret: whoever tries all of them finds it. One that is keyed with the
installation's secret says nothing to those who lack that.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

_USE = b"tocsin-listed-1"
_LOST = "lost:"


class UnknownKey(Exception):
    """Hashes were made with a secret that isn't known here."""


@dataclass(frozen=True)
class HashKeys:
    """``secret``: the installation's, which new hashes are made with. ``former``: secrets that it had before, and
    ``lost:FINGERPRINT`` for those that are lost, with all that was hashed with them."""

    secret: bytes
    former: tuple[str, ...] = ()

    def hashed(self, plain: bytes) -> bytes:
        return blake2b(plain, digest_size=16, key=self._key).digest()

    def formerly(self, plain: bytes) -> list[bytes]:
        """As the former secrets made it."""
        return [blake2b(plain, digest_size=16, key=key).digest() for key in self._former_keys]

    @cached_property
    def fingerprint(self) -> str:
        return _fingerprint(self._key)

    def check(self, fingerprint: str) -> None:
        """Raises UnknownKey for one of a secret that isn't among these."""
        if fingerprint not in self._known:
            raise UnknownKey(
                f"the suppression list was made with an installation secret (fingerprint {fingerprint}) that isn't"
                " known here: add it to installation.former_secrets. If it is lost, add"
                f' "{_LOST}{fingerprint}": addresses that were listed with it get messages again'
            )

    @cached_property
    def _key(self) -> bytes:
        return _key(self.secret)

    @cached_property
    def _former_keys(self) -> tuple[bytes, ...]:
        return tuple(_key(each.encode()) for each in self.former if not each.startswith(_LOST))

    @cached_property
    def _known(self) -> frozenset[str]:
        lost = (each.removeprefix(_LOST) for each in self.former if each.startswith(_LOST))
        return frozenset((self.fingerprint, *map(_fingerprint, self._former_keys), *lost))


#: Of tables that leave no memory.
NO_SECRET = HashKeys(b"")


def _key(secret: bytes) -> bytes:
    return blake2b(secret, digest_size=32, person=_USE).digest()


def _fingerprint(key: bytes) -> str:
    return blake2b(key, digest_size=8, person=_USE).hexdigest()
