"""Pins the images of Dockerfile and docker-compose.yml by digest, as their registry has them now (``make lock``)."""

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

_REPOSITORY = Path(__file__).resolve().parents[2]
FILES = (_REPOSITORY / "Dockerfile", _REPOSITORY / "docker-compose.yml")
#: Where Docker looks for images whose name has no host.
_DOCKER_HUB = "https://registry-1.docker.io"
_PINNED = re.compile(r"(?P<name>[a-z0-9][a-z0-9/._-]*):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
#: An image for several platforms is an index; its digest is the one to pin.
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_LIMIT_S = 20.0
_MAX_ANSWER = 1 << 20


class Image(NamedTuple):
    """A name in its registry, and a tag."""

    name: str
    tag: str


#: Gives an image's digest. Raises OSError, ValueError.
Digests = Callable[[Image], str]


def main(files: Sequence[Path] = FILES, registry: str = _DOCKER_HUB) -> int:
    """Rewrites digests that have changed. Where the registry can't be asked, they stay, and a line says so."""
    known: dict[Image, str] = {}

    def digest_of(image: Image) -> str:
        if image not in known:
            known[image] = current_digest(image, registry)
        return known[image]

    for path in files:
        before = path.read_text()
        try:
            after = repinned(before, digest_of)
        except (OSError, ValueError) as error:
            print(f"images: the registry can't be asked ({error}); {path.name} keeps its digests", file=sys.stderr)
            continue
        if after != before:
            path.write_text(after)
            print(f"images: {path.name} has new digests")
    return 0


def repinned(text: str, digest_of: Digests) -> str:
    """The text with the digest that each pinned image has now."""

    def pin(found: re.Match[str]) -> str:
        return f"{found['name']}:{found['tag']}@{digest_of(Image(found['name'], found['tag']))}"

    return _PINNED.sub(pin, text)


def current_digest(image: Image, registry: str) -> str:
    """Asks the registry (the OCI distribution API), with an anonymous token where it wants one.

    Raises OSError, also for refusals, and ValueError for an answer without a digest.
    """
    name = image.name if "/" in image.name else f"library/{image.name}"
    url = f"{registry}/v2/{name}/manifests/{image.tag}"
    headers = {"Accept": ", ".join(_MANIFESTS)}
    try:
        digest = _ask(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        headers["Authorization"] = f"Bearer {_anonymous_token(error.headers.get('WWW-Authenticate', ''))}"
        digest = _ask(url, headers)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"no digest for {name}:{image.tag}")
    return digest


def _ask(url: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(url, headers=headers, method="HEAD")
    with urllib.request.urlopen(request, timeout=_LIMIT_S) as response:
        return response.headers.get("Docker-Content-Digest") or ""


def _anonymous_token(challenge: str) -> str:
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if "realm" not in asked:
        raise ValueError("the registry wants credentials of an unknown kind")
    query = urlencode({key: value for key, value in asked.items() if key != "realm"})
    with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=_LIMIT_S) as response:
        answer = json.loads(response.read(_MAX_ANSWER))
    token = answer.get("token") or answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str):
        raise ValueError("the registry gives no token")
    return token
