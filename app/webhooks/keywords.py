"""Words by which people stop and start SMS (CTIA's and Twilio's lists, and the FCC's of April 2025)."""

import re
import unicodedata

from app.webhooks.events import OptOut

#: With nothing but letters, in lower case.
STOP = frozenset(
    ("stop", "stopall", "unsubscribe", "end", "quit", "cancel", "revoke", "optout", "arret", "alto", "baja")
)
START = frozenset(("start", "unstop", "yes", "optin", "subscribe", "resubscribe"))

_LONGEST = 40
_NO_LETTER = re.compile(r"[\W\d_]+")


def opt_out_of(said: str | None) -> OptOut | None:
    """``stop`` or ``start`` where the whole text is such a word, however it is written; else None."""
    if not said or len(said) > _LONGEST:
        return None
    decomposed = unicodedata.normalize("NFKD", said).casefold()
    word = _NO_LETTER.sub("", "".join(c for c in decomposed if not unicodedata.combining(c)))
    return "stop" if word in STOP else "start" if word in START else None
