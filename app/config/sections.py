"""The sections of the settings, but for the providers'."""

import re
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, field_validator, model_validator

from app.config.values import (
    AllowedHost,
    CountryPrefix,
    HostName,
    LinkScheme,
    Name,
    PerSecond,
    PortOrAny,
    SafeUrl,
    Seconds,
    Section,
)
from app.domain.client_certificates import check_name
from app.domain.erasure import DEFAULT_WITHIN, ErasureSteps
from app.domain.scopes import check_scope
from schemas.keys import MAX_CERTIFICATES, TOKENS_BEGIN
from schemas.topics import KEPT_DAYS

_SHORTEST_RETENTION_S = 3600.0

#: Of a shared secret (RFC 7518, 3.2: as long as what HS256 makes).
_LEAST_SECRET_BYTES = 32

PlainScope = Literal["send", "campaign", "read", "admin", "admin:read"]
#: One of these, or ``send:`` with an event type.
Scope = Annotated[str, AfterValidator(check_scope)]


def _topics_with_a_limit(retention: Mapping[str, float]) -> Mapping[str, float]:
    if unknown := sorted(set(retention) - KEPT_DAYS.keys()):
        raise ValueError(f"{unknown[0]} is not a topic with a retention time; those are {', '.join(KEPT_DAYS)}")
    if short := sorted(topic for topic, kept_s in retention.items() if kept_s < _SHORTEST_RETENTION_S):
        raise ValueError(f"{short[0]}: at least 1h")
    return retention


def _at_least_one_host(bootstrap: str) -> str:
    if not [host for host in bootstrap.split(",") if host.strip()]:
        raise ValueError("must name at least one broker, as host:port")
    return bootstrap


class Kafka(Section):
    """Where the log is. ``partitions`` and ``replication`` are used when topics are made."""

    bootstrap: Annotated[str, AfterValidator(_at_least_one_host)] = "127.0.0.1:9092"
    partitions: int = Field(default=8, ge=1, le=65536)
    replication: int = Field(default=1, ge=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_file: Path | None = None
    ssl_cert_file: Path | None = None
    ssl_key_file: Path | None = None
    ssl_key_password: SecretStr | None = None
    retention: Annotated[Mapping[str, Seconds], AfterValidator(_topics_with_a_limit)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError("sasl_username and sasl_password are required with security_protocol " + "SASL_*")
        return self

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes (consumer, producer, admin)."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL"):
            assert self.sasl_password is not None
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ssl_ca_file)
        if self.ssl_cert_file:
            password = self.ssl_key_password.get_secret_value() if self.ssl_key_password else None
            context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file, password)
        return context


class ClickHouse(Section):
    """``chdb:///folder`` (embedded) or ``clickhouse://user:password@host:8123/notify``.

    ``query_url``: a server's user who may only read, as ``tocsin query`` and ``GET /v1/query`` use it.
    """

    #: Left out: a folder under ``data.dir`` (see ``Settings``). Not shown, as it may hold a password.
    url: str = Field(default="", repr=False, pattern=r"^(chdb:///.+|clickhouses?://.+)$")
    query_url: str | None = Field(default=None, repr=False, pattern=r"^clickhouses?://.+$")
    #: How long events are kept; what sends came to; and the counts of hours and days (None: for ever).
    retention_days: int = Field(default=90, ge=1)
    sends_retention_days: int = Field(default=396, ge=1, le=1825)
    hourly_retention_days: int | None = Field(default=None, ge=1)


class Data(Section):
    """Where roles keep what they remember on this machine. ``standby``: copies of what other workers own, too.
    ``erase_within``: in which time the data of an erased user is gone, down to the bytes."""

    dir: Path = Path(".tocsin/data")
    standby: bool = False
    erase_within: Seconds = Field(default=DEFAULT_WITHIN.total_seconds(), ge=60, le=86_400)

    @property
    def erasure(self) -> ErasureSteps:
        return ErasureSteps(timedelta(seconds=self.erase_within))


class Users(Section):
    """What one user may have."""

    devices: int = Field(default=20, ge=1, le=100)


class Hooks(Section):
    """Outbound webhooks. ``allow_hosts``: hosts, or HOST:PORT, that may be called though they aren't public."""

    allow_hosts: tuple[AllowedHost, ...] = ()


class Installation(Section):
    """What all processes of an installation share. ``secret`` left out: a file in ``data.dir``. ``former_secrets``:
    what it was before, or ``lost:FINGERPRINT``; the suppression list remembers addresses by it."""

    secret: SecretStr | None = Field(default=None, min_length=32)
    former_secrets: tuple[SecretStr, ...] = Field(default=(), max_length=10)


#: Makes and reads the tokens of links; whoever has it can make some.
SigningKey = Annotated[SecretStr, Field(min_length=1, max_length=1000)]
#: Whoever has a token can try keys on it for as long as they like.
SIGNING_KEY_BYTES = 32


def _first_is_long(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Shorter ones may be there to read what they made."""
    if keys and len(keys[0].get_secret_value().encode()) < SIGNING_KEY_BYTES:
        raise ValueError(f"the first, which signs, must be at least {SIGNING_KEY_BYTES} bytes long")
    return keys


class BadCertificate(Exception):
    """A certificate, key or authority that can't be used: names the setting, says why."""


class Gateway(Section):
    """The public HTTP door. The first signing key signs, all of them verify.

    With a certificate it speaks TLS. ``client_ca_file``: who signs the certificates that callers may show, or must.
    """

    host: str = "127.0.0.1"
    port: PortOrAny = 8080
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    client_certificates: Literal["optional", "required"] = "optional"
    public_url: SafeUrl | None = None
    signing_keys: Annotated[tuple[SigningKey, ...], AfterValidator(_first_is_long)] = Field(default=(), max_length=20)
    cors_origins: tuple[str, ...] = ()
    #: Schemes of links besides https, http, mailto and tel, such as an app's own.
    link_schemes: tuple[LinkScheme, ...] = ()
    #: Requests a second of each API key that has no rate of its own.
    rate: PerSecond = 5000.0
    #: Connections whose caller has shown no good credentials yet: in all, and from one address.
    connections: int = Field(default=2000, ge=1, le=100_000)
    connections_per_address: int = Field(default=200, ge=1, le=100_000)
    #: Live streams of inboxes: in all, and of one user.
    streams: int = Field(default=20_000, ge=1, le=1_000_000)
    streams_per_user: int = Field(default=20, ge=1, le=10_000)

    @model_validator(mode="after")
    def _certificates_by_tls(self) -> Self:
        _check_pair(self.cert_file, self.key_file)
        if self.client_ca_file is not None and self.cert_file is None:
            raise ValueError("client_ca_file needs cert_file and key_file: certificates are shown by TLS")
        if self.client_certificates == "required" and self.client_ca_file is None:
            raise ValueError('client_certificates = "required" needs client_ca_file: who signs them')
        return self

    @property
    def url(self) -> str:
        """How it is reached on its own host, unless it takes any free port."""
        return f"{'http' if self.cert_file is None else 'https'}://{self.host}:{self.port}"

    def server_tls(self) -> ssl.SSLContext | None:
        """None: plain HTTP. Raises BadCertificate."""
        context = _server_tls("gateway", self.cert_file, self.key_file)
        if context is not None and self.client_ca_file is not None:
            try:
                context.load_verify_locations(self.client_ca_file)
            except (OSError, ssl.SSLError) as error:
                raise BadCertificate(f"gateway.client_ca_file: {_why(error)}") from None
            context.verify_mode = ssl.CERT_REQUIRED if self.client_certificates == "required" else ssl.CERT_OPTIONAL
            # A session that is resumed would skip the certificate, and outlive it; before 1.3 OpenSSL resumes its own.
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.num_tickets = 0
        return context


def _header_names(headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", name):
            raise ValueError("a name is not valid for an HTTP header")
        text = value.get_secret_value()
        if not text.isascii() or not text.isprintable():
            raise ValueError(f"{name}: its value must be printable ASCII")
    return headers


class Tracing(Section):
    """OpenTelemetry traces. ``endpoint``: where a collector takes them by OTLP over HTTP; left out: there are none.
    ``sample_ratio``: of the requests that bring no trace context, the share of which one is begun."""

    endpoint: SafeUrl | None = None
    sample_ratio: float = Field(default=0.0, ge=0, le=1)
    headers: Annotated[Mapping[str, SecretStr], AfterValidator(_header_names)] = Field(
        default_factory=dict, max_length=20
    )


class Branding(Section):
    """What recipients see of the sender: on the hosted pages, and in the footer of mail.

    ``name``: of the product or company. ``logo_url``, ``color`` (``#rrggbb``): of the hosted pages. ``postal_address``:
    for the footer, in lines.
    """

    name: str = Field(default="", max_length=100)
    logo_url: SafeUrl | None = None
    color: str = Field(default="#1f5fbf", pattern=r"^#[0-9a-fA-F]{6}$")
    postal_address: str = Field(default="", max_length=500)


class Verify(Section):
    """How many codes may be asked for in an hour, to verify an address, and to which countries they are sent.

    ``countries``: beginnings of numbers, such as +44; none: all. ``country_limits``: by such a beginning, where it
    isn't ``per_country``.
    """

    per_user: int = Field(default=5, ge=1, le=100)
    per_address: int = Field(default=5, ge=1, le=100)
    per_country: int = Field(default=100, ge=1, le=1_000_000)
    countries: tuple[CountryPrefix, ...] = ()
    country_limits: Mapping[CountryPrefix, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(default_factory=dict)


class ApiKey(Section):
    """A service that may call; ``sha256`` is the hex digest of the whole key, which is kept nowhere.

    ``rate``: requests a second, else the gateway's. ``critical``: whether it may ask for that priority.
    ``certificates``: a call must come with one of these client certificates; none: it needs none.
    """

    id: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    source: str = Field(default="", max_length=100)
    scopes: tuple[Scope, ...] = Field(min_length=1)
    rate: PerSecond | None = None
    critical: bool = True
    expires_at: AwareDatetime | None = None
    certificates: tuple[Annotated[str, AfterValidator(check_name)], ...] = Field(
        default=(), max_length=MAX_CERTIFICATES
    )

    @field_validator("id")
    @classmethod
    def _is_no_token(cls, key_id: str) -> str:
        if key_id.startswith(TOKENS_BEGIN):
            raise ValueError(f"must not begin with {TOKENS_BEGIN}: so users' tokens begin")
        return key_id


class Jwt(Section):
    """How users' tokens are verified: by a shared secret or by the issuer's published keys."""

    secret: SecretStr | None = None
    jwks_url: SafeUrl | None = None
    algorithms: tuple[str, ...] = ()
    audience: str | None = None
    issuer: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_algorithms(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and not raw.get("algorithms"):
            return {**raw, "algorithms": ("HS256",) if raw.get("secret") else ("RS256", "ES256")}
        return raw

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Self:
        if (self.secret is None) == (self.jwks_url is None):
            raise ValueError("exactly one of secret and jwks_url is required")
        if any(name.lower() == "none" for name in self.algorithms):
            raise ValueError("algorithms: none is not accepted")
        if self.jwks_url and any(name.startswith("HS") for name in self.algorithms):
            raise ValueError("algorithms: HS* needs a secret, not a jwks_url")
        if self.jwks_url and not self.audience:
            raise ValueError("audience is required with jwks_url: the issuer makes tokens for others, too")
        if self.secret is not None and len(self.secret.get_secret_value().encode()) < _LEAST_SECRET_BYTES:
            raise ValueError(f"secret: must be at least {_LEAST_SECRET_BYTES} bytes long")
        return self


class Auth(Section):
    """Who may call the gateway: services by API key, users by JWT."""

    api_keys: tuple[ApiKey, ...] = ()
    jwt: Jwt | None = None

    @model_validator(mode="after")
    def _unique_ids(self) -> Self:
        ids = [key.id for key in self.api_keys]
        if len(set(ids)) != len(ids):
            raise ValueError("api_keys: an id appears twice")
        return self


class Operations(Section):
    """Each role's own port for health, metrics and reads of its state; 0 takes any free one.

    ``advertised_host``: by which name or address gateways reach it, else ``host``. With a certificate it speaks TLS;
    ``ca_file``: who signed the certificates of the others, else the system's authorities.
    """

    host: str = "127.0.0.1"
    port: PortOrAny = 0
    advertised_host: HostName | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> Self:
        _check_pair(self.cert_file, self.key_file)
        return self

    @property
    def named(self) -> str:
        """The host that others reach it by."""
        return self.advertised_host or self.host

    def server_tls(self) -> ssl.SSLContext | None:
        """None: plain HTTP. Raises BadCertificate."""
        return _server_tls("operations", self.cert_file, self.key_file)

    def client_tls(self) -> ssl.SSLContext:
        """How the ports of others are verified. Raises BadCertificate."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise BadCertificate(f"operations.ca_file: {_why(error)}") from None


def _check_pair(cert_file: Path | None, key_file: Path | None) -> None:
    if (cert_file is None) != (key_file is None):
        raise ValueError("cert_file and key_file are required together")


def _server_tls(section: str, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    if cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file, password="")  # asks nobody for one
    except (OSError, ssl.SSLError) as error:
        raise BadCertificate(f"{section}.cert_file, {section}.key_file: {_why(error)}") from None
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "is not a PEM file of certificates, or key and certificate don't match"
    return f"can't be read: {error.strerror}"
