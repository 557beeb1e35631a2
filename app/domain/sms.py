"""Text messages: which numbers there are, and how many SMS a text takes.

GSM 7 bit default alphabet and extension table: 3GPP TS 23.038, 6.2.1; concatenation: TS 23.040, 9.2.3.24.
"""

import re
from itertools import pairwise

#: A number as ITU-T E.164 has it, which no other kind of address is (``whatsapp:+1…``).
E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Each takes two septets.
_GSM_EXTENDED = frozenset("\f^{}\\[~]|€")
_GSM_ALL = _GSM | _GSM_EXTENDED

#: What one SMS holds, alone and as a part of several: septets of GSM 7, UTF-16 units of UCS-2.
_SEPTETS, _UNITS = (160, 153), (70, 67)


def is_gsm(text: str) -> bool:
    """Whether GSM 7 can write it; one other character turns the whole text into UCS-2."""
    return _GSM_ALL.issuperset(text)


def segments(text: str) -> int:
    """How many SMS the text is sent and paid as."""
    return len(divided(text))


def divided(text: str) -> list[str]:
    """What each SMS of the text holds. No character is split between two of them."""
    sizes, (alone, each) = _sizes(text)
    if sum(sizes) <= alone:
        return [text]
    starts, left = list[int](), 0
    for place, size in enumerate(sizes):
        if size > left:
            starts.append(place)
            left = each
        left -= size
    return [text[start:end] for start, end in pairwise([*starts, len(text)])]


def shortened(text: str, most: int) -> str:
    """The text, or as much of its beginning as ``most`` SMS hold, with dots for the rest."""
    if segments(text) <= most:
        return text
    dots = "..." if is_gsm(text) else "…"
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if segments(text[:middle].rstrip() + dots) <= most:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + dots


def _sizes(text: str) -> tuple[list[int], tuple[int, int]]:
    """What each character takes, and what an SMS holds of that."""
    if is_gsm(text):
        return [2 if character in _GSM_EXTENDED else 1 for character in text], _SEPTETS
    return [2 if ord(character) > 0xFFFF else 1 for character in text], _UNITS
