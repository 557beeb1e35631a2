"""Addresses: one form for each phone number and mail address, and the key under which it is suppressed."""

import re
from hashlib import blake2b

import phonenumbers

from schemas.words import Channel

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def parse_phone(text: str) -> str | None:
    """The number in E.164 (``+442071838750``); None if it isn't one with its country's code."""
    if not text.startswith("+"):
        return None
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def parse_email(text: str) -> str | None:
    """The address with its domain in lower case and as DNS writes it; None if it isn't one."""
    local, _, domain = text.rpartition("@")
    try:
        domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        return None
    labels = domain.split(".")
    if not _LOCAL.fullmatch(local) or len(local) > 64 or len(local) + len(domain) > 253:
        return None
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return f"{local}@{domain}"


def address_hash(channel: Channel, address: str) -> bytes:
    """16 bytes under which an address of a channel is remembered, whatever its letters' case or its blanks."""
    written = address.strip()
    if channel == "email":
        written = parse_email(written) or written
    elif channel == "sms":
        written = parse_phone(written) or written
    return parsed_hash(channel, written)


def parsed_hash(channel: Channel, parsed: str) -> bytes:
    """The same of an address as ``parse_email`` or ``parse_phone`` gave it: reading a number costs 50 times as much."""
    written = parsed.lower() if channel == "email" else parsed
    return blake2b(f"{channel}\n{written}".encode(), digest_size=16).digest()
