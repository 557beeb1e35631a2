"""Addresses: one form for each phone number and mail address, and the key under which it is suppressed."""

from schemas.words import Channel


def parse_phone(text: str) -> str | None:
    """The number in E.164 (``+442071838750``); None if it isn't one."""
    raise NotImplementedError


def parse_email(text: str) -> str | None:
    """The address with its domain in lower case; None if it isn't one (so are line breaks)."""
    raise NotImplementedError


def address_hash(channel: Channel, address: str) -> bytes:
    """16 bytes under which an address of a channel is remembered, whatever its letters' case or its blanks."""
    raise NotImplementedError
