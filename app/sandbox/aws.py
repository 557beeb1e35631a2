"""What all of AWS shares: the signature of a request (version 4), and shapes checked against a service's model."""

import base64
import datetime
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from app.sandbox.certificates import keep
from app.sandbox.exchange import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_SKEW = datetime.timedelta(minutes=5)

_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}


def _new_keys() -> bytes:
    """A pair of keys of one account, which all its services take."""
    access_key = "AKIA" + base64.b32encode(secrets.token_bytes(10)).decode()
    return orjson.dumps({"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30)})


class Gate:
    """Checks signatures made with the account's keys for one service and region. ``env``: the keys, as clients take
    them."""

    def __init__(self, folder: Path, service: str, region: str) -> None:
        self.env: Mapping[str, str] = orjson.loads(keep(folder / "aws-keys.json", _new_keys))
        self._access_key = self.env["AWS_ACCESS_KEY_ID"]
        self._scope = f"{region}/{service}/aws4_request"
        self._signer = SigV4Auth(Credentials(self._access_key, self.env["AWS_SECRET_ACCESS_KEY"]), service, region)

    def objection(self, request: Request, now: datetime.datetime) -> tuple[str, str] | None:
        """(AWS's error code, message), None if the request is signed as it must be."""
        given = request.header("authorization")
        if given is None:
            return "MissingAuthenticationTokenException", "Missing Authentication Token"
        parts = _AUTHORIZATION.fullmatch(given)
        date = request.header("x-amz-date") or ""
        try:
            signed_at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        except ValueError:
            return "IncompleteSignatureException", "X-Amz-Date is missing or malformed."
        if parts is None:
            return "IncompleteSignatureException", "Authorization header is malformed."
        if parts["key"] != self._access_key:
            return "UnrecognizedClientException", "The security token included in the request is invalid."
        if parts["scope"] != f"{date[:8]}/{self._scope}":
            return "InvalidSignatureException", f"Credential should be scoped to {date[:8]}/{self._scope}."
        if abs(now - signed_at) > _SKEW:
            return "InvalidSignatureException", f"Signature expired: {date} is too far from {now:%Y%m%dT%H%M%SZ}."
        if not hmac.compare_digest(self._signature(request, parts["headers"].split(";"), date), parts["signature"]):
            return "InvalidSignatureException", "The request signature we calculated does not match the signature."
        return None

    def _signature(self, request: Request, names: list[str], date: str) -> str:
        signed = {name: request.header(name) or "" for name in names}
        url = f"https://{request.authority}{request.path}" + (f"?{request.query}" if request.query else "")
        copy = AWSRequest(method=request.method, url=url, headers=signed, data=request.body)
        copy.context["timestamp"] = date
        return str(
            self._signer.signature(self._signer.string_to_sign(copy, self._signer.canonical_request(copy)), copy)
        )


def service_model(name: str) -> ServiceModel:
    """The model that botocore ships, e.g. ``sesv2``."""
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


def complaints(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """What is wrong with a JSON value, each in AWS's words with the member's path: unknown or missing members, types,
    lengths, patterns, enums."""
    wrong_type = not isinstance(value, _TYPES[shape.type_name])
    if wrong_type:
        yield f"Value at '{path}' failed to satisfy constraint: Member must be a {shape.type_name}"
    elif shape.type_name == "structure":
        yield from _structure_complaints(shape, value, path)
    elif shape.type_name == "list":
        yield from _range_complaints(shape, len(value), path)
        for position, item in enumerate(value, 1):
            yield from complaints(shape.member, item, f"{path}.{position}.member")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from complaints(shape.value, item, f"{path}.{key}")
    elif shape.type_name == "string":
        yield from _range_complaints(shape, len(value), path)
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            yield f"Value at '{path}' failed to satisfy constraint: Member must satisfy pattern: {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"Value at '{path}' failed to satisfy constraint: Member must satisfy enum value set: {shape.enum}"


def _structure_complaints(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in value.items():
        if name not in shape.members:
            yield f"Unknown member at '{_join(path, name)}'"
        elif member is not None:
            yield from complaints(shape.members[name], member, _join(path, name))


def _range_complaints(shape: Shape, size: int, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"Value at '{path}' failed to satisfy constraint: Member must have length greater than or equal to {low}"
    if high is not None and size > high:
        yield f"Value at '{path}' failed to satisfy constraint: Member must have length less than or equal to {high}"


def _join(path: str, name: str) -> str:
    """AWS names members in camel case."""
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member
