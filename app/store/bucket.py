"""A bucket of S3, or of what speaks its protocol, as the place of an export. Credentials, region and endpoint come the
AWS way: from the environment, a profile, or the machine's role."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore import exceptions as boto

SCHEME: Final = "s3"
#: Amazon's rules for names of buckets, and its limit to a key, less what we append.
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX_BYTES = 900
_CONNECT_S, _READ_S, _ATTEMPTS = 10.0, 60.0, 4


class BucketFailed(Exception):
    """The message says what was refused, and by whom."""


class Bucket:
    """An object is there whole or not at all, as S3 shows none before all of it has come. Raises BucketFailed."""

    def __init__(self, client: Any, name: str, prefix: str) -> None:
        self._client = client
        self._name = name
        self._prefix = f"{prefix}/" if prefix else ""

    async def read(self, name: str) -> bytes | None:
        try:
            answer = await self._client.get_object(Bucket=self._name, Key=self._prefix + name)
            async with answer["Body"] as body:
                content: bytes = await body.read()
            return content
        except boto.ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                return None
            raise self._failed(error) from None
        except (boto.BotoCoreError, aiohttp.ClientError, OSError) as error:  # aiohttp's: one that breaks off
            raise self._failed(error) from None

    async def write(self, name: str, content: bytes) -> None:
        try:
            await self._client.put_object(Bucket=self._name, Key=self._prefix + name, Body=content)
        except (boto.ClientError, boto.BotoCoreError, OSError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> BucketFailed:
        return BucketFailed(f"bucket {self._name}: {error or type(error).__name__}")


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """Of ``s3://bucket/prefix``. Raises ValueError with what is wrong."""
    parts = urlsplit(url)
    if parts.scheme != SCHEME:
        raise ValueError(f"of URLs only {SCHEME}:// ones are known")
    if parts.query or parts.fragment or not _NAME.fullmatch(parts.netloc):
        raise ValueError(f"must be {SCHEME}://BUCKET or {SCHEME}://BUCKET/PREFIX")
    prefix = parts.path.strip("/")
    if len(prefix.encode()) > _PREFIX_BYTES or not prefix.isprintable():
        raise ValueError(f"the prefix may have {_PREFIX_BYTES} bytes, without control characters")
    return parts.netloc, prefix


@asynccontextmanager
async def opened_bucket(url: str) -> AsyncIterator[Bucket]:
    """Raises ValueError for a URL that isn't one, BucketFailed."""
    name, prefix = bucket_and_prefix(url)
    config = AioConfig(
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(get_session().create_client(SCHEME, config=config))
        except (boto.BotoCoreError, ValueError) as error:  # no region, say, or an endpoint that isn't one
            raise BucketFailed(f"bucket {name}: {error}") from None
        _check_endpoint(client.meta.endpoint_url)
        yield Bucket(client, name, prefix)


def _check_endpoint(url: str) -> None:
    """Raises BucketFailed where the export would travel in the clear."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise BucketFailed(f"the endpoint {url} must be https: plain http is for this machine only")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
