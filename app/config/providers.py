"""The providers' settings, one section a vendor."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from app.config.values import AllowedHost, EcdsaKey, PerSecond, Port, SafeUrl, Seconds, Section, Sender
from schemas.words import Provider

_VONAGE, _VONAGE_REPORTS = "https://rest.nexmo.com", "https://api.nexmo.com"


class ProviderSettings(Section):
    """What every provider has: a hard limit for a call (seconds), calls at once, calls a second (None: no limit)."""

    timeout: Seconds = 15.0
    concurrency: int = Field(default=100, ge=1)
    rate: PerSecond | None = None
    ca_file: Path | None = None


class Apns(ProviderSettings):
    """Apple: ``topic`` is the app's bundle id, ``key_file`` the .p8 signing key."""

    host: str = "api.push.apple.com"
    port: Port = 443
    key_file: Path
    key_id: str
    team_id: str
    topic: str


class Fcm(ProviderSettings):
    """Google: the project and the token endpoint come from the service account's file."""

    base_url: SafeUrl = "https://fcm.googleapis.com"
    service_account_file: Path


class WebPush(ProviderSettings):
    """Browsers: ``subject`` is a mailto: or https: address; ``allow_hosts`` which hosts may be called beside the
    browsers' push services."""

    vapid_private_key: SecretStr
    #: Apple refuses a signature whose subject is neither.
    subject: str = Field(pattern=r"^(mailto:[!-~]+@[!-~]+|https://[!-~]+)$", max_length=255)
    allow_hosts: tuple[AllowedHost, ...] = ()


class Ses(ProviderSettings):
    """Amazon SES v2. Credentials come the AWS way (environment, profile, role)."""

    endpoint_url: SafeUrl | None = None
    region: str
    from_: Sender = Field(alias="from")
    configuration_set: str | None = None
    webhook_topic_arns: tuple[str, ...] = ()
    webhook_cert_hosts: tuple[str, ...] = ()


class SendGrid(ProviderSettings):
    """SendGrid; ``webhook_public_key`` verifies its signed event webhook."""

    base_url: SafeUrl = "https://api.sendgrid.com"
    api_key: SecretStr
    webhook_public_key: EcdsaKey | None = None
    from_: Sender = Field(alias="from")


class Twilio(ProviderSettings):
    """Twilio; a sender is a number (``from``) or a messaging service."""

    base_url: SafeUrl = "https://api.twilio.com"
    account_sid: str
    auth_token: SecretStr
    from_: str | None = Field(default=None, alias="from")
    messaging_service_sid: str | None = None

    @model_validator(mode="after")
    def _one_sender(self) -> Self:
        if (self.from_ is None) == (self.messaging_service_sid is None):
            raise ValueError("exactly one of from and messaging_service_sid is required")
        return self


class Vonage(ProviderSettings):
    """Vonage's SMS API; ``signature_secret`` verifies its callbacks. ``reports_url`` is where its Reports API is asked;
    left out: at its own address, or at ``base_url`` where that is another."""

    base_url: SafeUrl = _VONAGE
    reports_url: SafeUrl | None = None
    api_key: str
    api_secret: SecretStr
    signature_secret: SecretStr | None = None
    from_: str = Field(alias="from")

    @property
    def reports(self) -> str:
        return self.reports_url or (_VONAGE_REPORTS if self.base_url == _VONAGE else self.base_url)


class Sns(ProviderSettings):
    """Amazon SNS for SMS. Credentials come the AWS way."""

    endpoint_url: SafeUrl | None = None
    region: str


class Providers(Section):
    """One section a vendor; a provider without settings isn't used."""

    apns: Apns | None = None
    fcm: Fcm | None = None
    webpush: WebPush | None = None
    ses: Ses | None = None
    sendgrid: SendGrid | None = None
    twilio: Twilio | None = None
    vonage: Vonage | None = None
    sns: Sns | None = None

    def configured(self) -> dict[Provider, ProviderSettings]:
        """The providers that have settings, by name."""
        return {name: part for name in type(self).model_fields if (part := getattr(self, name)) is not None}  # type: ignore[misc]
