"""FCM HTTP v1 and Google's OAuth token endpoint for service accounts.

Sources: the FCM v1 discovery document; Firebase, "FCM error codes"; Google, "Using OAuth 2.0 for server to server
applications"; AIP-193 for the shape of errors.
"""

import re
import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.sandbox.certificates import keep
from app.sandbox.discovery import Discovery, Violation, camel_keys
from app.sandbox.exchange import Judged, Moment, Reply, Request, attempt_of, refused, text_of
from app.sandbox.journal import Journal
from app.sandbox.records import Shown
from schemas.words import Provider

PROJECT = "tocsin-sandbox"
CLIENT_EMAIL = f"sender@{PROJECT}.iam.gserviceaccount.com"
SCOPES = frozenset(
    f"https://www.googleapis.com/auth/{scope}" for scope in ("firebase.messaging", "cloud-platform", "firebase")
)
#: The official client names this audience whatever its ``token_uri``.
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"
TOKEN_LIFE_S = 3600
MAX_PAYLOAD = 4096
MAX_TTL_S = 2_419_200

#: FCM's error code → (HTTP status, Google's canonical status, message).
ERRORS = {
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
    "UNAUTHENTICATED": (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "PERMISSION_DENIED": (403, "PERMISSION_DENIED", "Permission 'cloudmessaging.messages.create' denied."),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED", "SenderId mismatch"),
    "NOT_FOUND": (404, "NOT_FOUND", "Requested entity was not found."),
    "UNREGISTERED": (404, "NOT_FOUND", "Requested entity was not found."),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "INTERNAL": (500, "INTERNAL", "Internal error encountered."),
    "UNAVAILABLE": (503, "UNAVAILABLE", "The service is currently unavailable."),
}
#: These come from Google's front end, which knows nothing of FCM's own codes.
_PLAIN = frozenset(("UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND"))

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_SEND = re.compile(r"/v1/projects/([^/:]+)/messages:send")
_TOKEN = re.compile(r"[A-Za-z0-9_:.\-]{32,4096}")
_TOPIC = re.compile(r"[A-Za-z0-9_.~%\-]+")
_FREE = frozenset(("data", "headers", "payload"))
_TARGETS = ("token", "fid", "topic", "condition")


class Fcm:
    """One Firebase project with one service account."""

    name: Provider = "fcm"
    protocols: tuple[str, ...] = ("h2", "http/1.1")
    codes = frozenset(ERRORS)
    outage = "UNAVAILABLE"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.env: Mapping[str, str] = {}
        self._account_file = folder / "fcm-service-account.json"
        pem = keep(folder / "fcm-key.pem", _new_rsa_key)
        self._private_pem = pem.decode()
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._public_key = key.public_key()
        self._key_id = uuid.uuid5(uuid.NAMESPACE_OID, self._private_pem).hex
        self._secret = keep(folder / "fcm-access.key", lambda: secrets.token_bytes(32))
        self._discovery = Discovery("fcm.v1")
        self._token_uri = ""
        #: When access tokens that were found genuine end (Unix s).
        self._ends: dict[str, int] = {}

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        base_url = f"https://{host}:{port}"
        self._token_uri = f"{base_url}/token"
        account = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": self._key_id,
            "private_key": self._private_pem,
            "client_email": CLIENT_EMAIL,
            "client_id": "100000000000000000001",
            "auth_uri": f"{base_url}/auth",
            "token_uri": self._token_uri,
            "universe_domain": "googleapis.com",
        }
        self._account_file.unlink(missing_ok=True)
        keep(self._account_file, lambda: orjson.dumps(account, option=orjson.OPT_INDENT_2))
        return {"base_url": base_url, "service_account_file": str(self._account_file), "ca_file": ca_file}

    def judge(self, request: Request, at: Moment) -> Judged:
        if request.path == "/token":
            return self._judge_token(request, at.ms // 1000)
        project = _SEND.fullmatch(request.path)
        if project is None or request.method != "POST":
            return Judged(error("NOT_FOUND"), operation="unknown", code="NOT_FOUND")
        if not self._is_genuine(request.header("authorization"), at.ms // 1000):
            return Judged(error("UNAUTHENTICATED"), code="UNAUTHENTICATED")
        if project[1] != PROJECT:
            return Judged(error("PERMISSION_DENIED"), code="PERMISSION_DENIED")
        return self._judge_send(request.body, at)

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        if judged.operation == "token":
            return _token_error("temporarily_unavailable", code, ERRORS[code][0])
        return error(code)

    # --- sending

    def _judge_send(self, body: bytes, at: Moment) -> Judged:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as problem:
            violations = [Violation("", f"Invalid JSON payload received. {problem}")]
            return Judged(error("INVALID_ARGUMENT", violations), code="INVALID_ARGUMENT")
        message = camel_keys(document, _FREE).get("message") if isinstance(document, dict) else None
        message = message if isinstance(message, dict) else {}
        data = message["data"] if isinstance(message.get("data"), dict) else {}
        name = f"projects/{PROJECT}/messages/0:{at.ms}%{at.id.hex[:16]}"
        judged = Judged(
            Reply(200, orjson.dumps({"name": name}), _JSON),
            address=_address(message),
            send_id=text_of(data.get("send_id")),
            notification_id=text_of(data.get("notification_id")),
            attempt=attempt_of(data.get("attempt")),
            provider_message_id=name,
        )
        violations = self._discovery.violations("SendMessageRequest", document) or list(_violations(message))
        if violations:
            reply = error("INVALID_ARGUMENT", violations, fcm=bool(message))
            return refused(judged, "INVALID_ARGUMENT", reply)
        if document.get("validateOnly", document.get("validate_only")):
            return judged
        return replace(judged, shown=_shown(message, at.ms // 1000))

    # --- credentials

    def _judge_token(self, request: Request, now_s: int) -> Judged:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return _no_token("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        try:
            claims = jwt.decode(
                form.get("assertion", ""), self._public_key, ["RS256"], audience=[self._token_uri, GOOGLE_TOKEN_URI]
            )
        except jwt.InvalidSignatureError:
            return _no_token("invalid_grant", "Invalid JWT Signature.")
        except jwt.PyJWTError as problem:
            return _no_token("invalid_grant", f"Invalid JWT: {problem}")
        if claims.get("iss") != CLIENT_EMAIL:
            return _no_token("invalid_grant", "Invalid grant: account not found")
        if not SCOPES.intersection(str(claims.get("scope", "")).split()):
            return _no_token("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        token = jwt.encode({"exp": now_s + TOKEN_LIFE_S}, self._secret, "HS256")
        answer = {"access_token": f"ya29.{token}", "expires_in": TOKEN_LIFE_S - 1, "token_type": "Bearer"}
        return Judged(Reply(200, orjson.dumps(answer), _JSON), operation="token")

    def _is_genuine(self, authorization: str | None, now_s: int) -> bool:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        if token not in self._ends:
            try:
                claims = jwt.decode(token.removeprefix("ya29."), self._secret, ["HS256"], options={"verify_exp": False})
            except jwt.PyJWTError:
                return False
            if len(self._ends) >= 1000:
                self._ends.clear()
            self._ends[token] = int(claims["exp"])
        return self._ends[token] > now_s


_JSON = {"content-type": "application/json; charset=UTF-8"}


def error(code: str, violations: list[Violation] | None = None, *, fcm: bool = True) -> Reply:
    """Google's error JSON, with FCM's own code in its details where FCM itself answers."""
    status, canonical, message = ERRORS[code]
    details: list[dict[str, Any]] = []
    if fcm and code not in _PLAIN:
        details.append({"@type": _FCM_ERROR, "errorCode": code})
    if violations:
        message = "\n".join(violation.description for violation in violations)
        fields = [{"field": violation.field, "description": violation.description} for violation in violations]
        details.append({"@type": _BAD_REQUEST, "fieldViolations": fields})
    body: dict[str, Any] = {"code": status, "message": message, "status": canonical}
    if details:
        body["details"] = details
    return Reply(status, orjson.dumps({"error": body}), _JSON)


def _violations(message: dict[str, Any]) -> Iterator[Violation]:
    """The rules that the discovery document can't state. Names are camel case here."""
    targets = [target for target in _TARGETS if message.get(target) is not None]
    if len(targets) != 1:
        told = "Recipient of the message is not set." if not targets else "Only one target may be set."
        yield Violation("message", told)
    for target in ("token", "fid"):
        if message.get(target) is not None and not _TOKEN.fullmatch(message[target]):
            yield Violation(f"message.{target}", "The registration token is not a valid FCM registration token")
    if message.get("topic") is not None and not _TOPIC.fullmatch(message["topic"]):
        yield Violation("message.topic", "Malformed topic name")
    for key in message.get("data") or {}:
        if key in ("from", "message_type") or key.startswith(("google.", "gcm.notification.")):
            yield Violation("message.data", f"Invalid data payload key: {key}")
    ttl = (message.get("android") or {}).get("ttl")
    if ttl is not None and not 0 <= float(ttl[:-1]) <= MAX_TTL_S:
        yield Violation("message.android.ttl", "Invalid ttl: must be between 0 and 2419200 seconds")
    if len(orjson.dumps([message.get("notification"), message.get("data")])) > MAX_PAYLOAD:
        yield Violation("message", "Message too big")


def _address(message: dict[str, Any]) -> str | None:
    topic = text_of(message.get("topic"))
    direct = text_of(message.get("token")) or text_of(message.get("fid")) or text_of(message.get("condition"))
    return direct or (f"/topics/{topic}" if topic else None)


def _shown(message: dict[str, Any], now_s: int) -> Shown:
    android = message.get("android") or {}
    words = {**(message.get("notification") or {}), **(android.get("notification") or {})}
    apns_headers = (message.get("apns") or {}).get("headers") or {}
    data = message.get("data") or {}
    ttl = android.get("ttl")
    return Shown(
        title=words.get("title"),
        body=words.get("body"),
        image=words.get("image"),
        url=data.get("url"),
        collapse_id=words.get("tag") or android.get("collapseKey") or apns_headers.get("apns-collapse-id"),
        expiration=now_s + int(float(ttl[:-1])) if ttl else None,
        data=data,
    )


def _no_token(kind: str, description: str) -> Judged:
    return Judged(_token_error(kind, description, 400), operation="token", code=kind)


def _token_error(kind: str, description: str, status: int) -> Reply:
    return Reply(status, orjson.dumps({"error": kind, "error_description": description}), _JSON)


def _new_rsa_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
