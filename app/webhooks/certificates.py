"""The keys that sign for SNS: fetched from the address that a message names, checked, and kept for a while."""

import asyncio
import ssl
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import certifi
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.utils import CryptographyDeprecationWarning

from app.webhooks.chain import issuer_url, read_certificates, verified_key
from app.webhooks.events import NotGenuine

#: As Amazon's certificates for SNS are made out, in every region.
SNS_NAME = "sns.amazonaws.com"

_LIMIT = aiohttp.ClientTimeout(total=5)
_MOST_BYTES = 64 * 1024
_KEPT_MS, _REFUSED_MS = 6 * 3_600_000, 60_000
_MOST_KEPT, _MOST_FETCHES = 64, 4


class NotReached(Exception):
    """Nobody answered as hoped: it may be tried again."""


class Certificates:
    """``ca_file``: whom to trust, both where certificates are fetched and where they were issued; None: the public
    authorities. ``clock``: Unix milliseconds."""

    def __init__(self, session: aiohttp.ClientSession, ca_file: Path | None, clock: Callable[[], int]) -> None:
        self._session = session
        self._ca_file = ca_file
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._roots: Sequence[x509.Certificate] = ()
        #: By address, with when they are looked at anew; None: what is there may not sign.
        self._kept: OrderedDict[str, tuple[RSAPublicKey | None, int]] = OrderedDict()
        self._fetching: dict[str, asyncio.Lock] = {}

    async def key_at(self, url: str) -> RSAPublicKey:
        """The key of the certificate at an address that was checked. Raises NotGenuine, NotReached."""
        found = self._found(url)
        if found is not None:
            return found
        lock = self._fetching.get(url)
        if lock is None:
            if len(self._fetching) >= _MOST_FETCHES:
                raise NotReached("too many certificates are being fetched")
            lock = self._fetching[url] = asyncio.Lock()
        try:
            async with lock:
                return self._found(url) or await self._fetch(url)
        finally:
            self._fetching.pop(url, None)

    async def get(self, url: str) -> bytes:
        """What lies at an address that was checked: no redirects, bounded in time and size. Raises NotReached."""
        try:
            async with self._session.get(
                url, ssl=self._context(), allow_redirects=False, timeout=_LIMIT, headers={"Accept-Encoding": "identity"}
            ) as response:
                if response.status != 200:
                    raise NotReached(f"answers {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_chunked(16_384):
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise NotReached(f"answers more than {_MOST_BYTES} bytes")
                return bytes(body)
        except (TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
            raise NotReached(type(error).__name__) from error

    def _found(self, url: str) -> RSAPublicKey | None:
        key, until_ms = self._kept.get(url, (None, 0))
        if until_ms <= self._clock():
            return None
        if key is None:
            raise NotGenuine("the certificate at this address may not sign for SNS")
        return key

    async def _fetch(self, url: str) -> RSAPublicKey:
        pem = await self.get(url)
        now_ms = self._clock()
        try:
            chain = read_certificates(pem)
            key = verified_key(await self._completed(chain), self._trusted(), self._names(url), now_ms)
        except NotGenuine:
            self._keep(url, None, now_ms + _REFUSED_MS)
            raise
        ends_ms = int(chain[0].not_valid_after_utc.timestamp() * 1000)
        self._keep(url, key, min(now_ms + _KEPT_MS, ends_ms))
        return key

    def _keep(self, url: str, key: RSAPublicKey | None, until_ms: int) -> None:
        self._kept[url] = key, until_ms
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    async def _completed(self, chain: Sequence[x509.Certificate]) -> Sequence[x509.Certificate]:
        """With the issuer's certificate, where it doesn't come along and Amazon publishes it."""
        if self._ca_file is not None or len(chain) > 1 or (published := issuer_url(chain[0])) is None:
            return chain
        try:
            return (*chain, x509.load_der_x509_certificate(await self.get(published)))
        except (NotReached, ValueError):
            return chain

    def _names(self, url: str) -> Sequence[str]:
        """A public authority certifies everybody: of those only SNS may sign."""
        return () if self._ca_file is not None else (SNS_NAME, urlsplit(url).hostname or SNS_NAME)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca_file)
        return self._tls

    def _trusted(self) -> Sequence[x509.Certificate]:
        if not self._roots:
            tls = ssl.create_default_context(cafile=self._ca_file or certifi.where())
            self._roots = tuple(_readable(tls.get_ca_certs(binary_form=True)))
        return self._roots


def _readable(authorities: Sequence[bytes]) -> Iterator[x509.Certificate]:
    """Without those of old authorities that break the rules of today."""
    for der in authorities:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", CryptographyDeprecationWarning)
                yield x509.load_der_x509_certificate(der)
        except (ValueError, CryptographyDeprecationWarning):
            continue
