"""The providers that the sandbox speaks for: one line each."""

from collections.abc import Callable
from pathlib import Path

from app.sandbox.apns import Apns
from app.sandbox.exchange import Vendor
from app.sandbox.fcm import Fcm
from app.sandbox.journal import Journal
from app.sandbox.ses import Ses
from app.sandbox.twilio import Twilio

VENDORS: tuple[Callable[[Path, Journal], Vendor], ...] = (Apns, Fcm, Ses, Twilio)
