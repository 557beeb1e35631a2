"""The providers that the sandbox speaks for: one line each."""

from collections.abc import Callable
from pathlib import Path

from app.sandbox.apns import Apns
from app.sandbox.exchange import Vendor
from app.sandbox.fcm import Fcm
from app.sandbox.journal import Journal
from app.sandbox.sendgrid import SendGrid
from app.sandbox.ses import Ses
from app.sandbox.sns import Sns
from app.sandbox.twilio import Twilio
from app.sandbox.vonage import Vonage
from app.sandbox.webpush import WebPush

VENDORS: tuple[Callable[[Path, Journal], Vendor], ...] = (Apns, Fcm, WebPush, Ses, SendGrid, Twilio, Vonage, Sns)
