"""From a posted request to what it says, by vendor: whether it is set up, whether it is genuine, its events."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from app.config.providers import Providers, Ses, Twilio, Vonage
from app.config.values import ecdsa_public_key
from app.webhooks import sendgrid, ses, sns, twilio, vonage
from app.webhooks.certificates import Certificates
from app.webhooks.events import NO_INTEREST, Event, NotGenuine, Posted

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What each vendor's requests are verified with; None: that vendor isn't set up. ``public_url``: by which vendors
    call, None: as they say themselves."""

    ses: Ses | None = None
    sendgrid: EllipticCurvePublicKey | None = None
    twilio: Twilio | None = None
    vonage: Vonage | None = None
    certificates: Certificates | None = None
    public_url: str | None = None

    async def from_ses(self, posted: Posted, now_ms: int) -> Sequence[Event]:
        """Raises NotGenuine, NotReached."""
        if self.ses is None or self.certificates is None:
            raise _not_set_up("providers.ses")
        envelope, hosts = sns.read_envelope(posted.body), self.ses.webhook_cert_hosts
        sns.check_envelope(envelope, self.ses.webhook_topic_arns, hosts, now_ms)
        sns.check_signature(envelope, await self.certificates.key_at(envelope.cert_url))
        if envelope.type == "Notification":
            return ses.events_of(envelope.message)
        if envelope.type == "SubscriptionConfirmation":
            sns.check_url(envelope.subscribe_url or "", hosts, "SubscribeURL")
            await self.certificates.get(envelope.subscribe_url or "")
            log.info("confirmed a subscription to a topic of SNS", topic=envelope.topic_arn)
        else:
            log.warning("a topic of SNS ends its subscription: SES's events don't come any more")
        return [NO_INTEREST]

    async def from_sendgrid(self, posted: Posted, now_ms: int) -> Sequence[Event]:
        """Raises NotGenuine; Invalid for a list that can't be read."""
        if self.sendgrid is None:
            raise _not_set_up("providers.sendgrid.webhook_public_key")
        sendgrid.verify(posted, self.sendgrid, now_ms)
        return sendgrid.events_of(posted.body)

    async def from_twilio(self, posted: Posted, now_ms: int) -> Sequence[Event]:
        """Raises NotGenuine."""
        if self.twilio is None:
            raise _not_set_up("providers.twilio")
        return twilio.events_of(posted, twilio.verified(posted, self.twilio.auth_token.get_secret_value()))

    async def from_vonage(self, posted: Posted, now_ms: int) -> Sequence[Event]:
        """Raises NotGenuine."""
        if self.vonage is None or self.vonage.signature_secret is None:
            raise _not_set_up("providers.vonage.signature_secret")
        secret = self.vonage.signature_secret.get_secret_value()
        return vonage.events_of(vonage.verified(posted, secret, self.vonage.api_key, now_ms))

    def url(self, target: str, scheme: str, host: str) -> str:
        """As the vendor called it. ``target``: path and query as they came."""
        return f"{self.public_url.rstrip('/') if self.public_url else f'{scheme}://{host}'}{target}"


#: No vendor is.
NOT_SET_UP = Webhooks()


def webhooks_of(providers: Providers, certificates: Certificates | None, public_url: str | None) -> Webhooks:
    """From the settings."""
    given = providers.sendgrid
    key = given.webhook_public_key if given is not None else None
    return Webhooks(
        ses=providers.ses,
        sendgrid=ecdsa_public_key(key) if key is not None else None,
        twilio=providers.twilio,
        vonage=providers.vonage,
        certificates=certificates,
        public_url=public_url,
    )


def _not_set_up(setting: str) -> NotGenuine:
    return NotGenuine(f"this webhook is not set up: see {setting}")
