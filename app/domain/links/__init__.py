"""Links of the gateway's own that go out with a message, each with a signed, encrypted token in place of names."""

from app.domain.links.made import NO_LINKS, PREFERENCES_MS, Links
from app.domain.links.tokens import MAX_TOKEN_CHARS, Click, OfSend, Preferences, Tokens

__all__ = ["MAX_TOKEN_CHARS", "NO_LINKS", "PREFERENCES_MS", "Click", "Links", "OfSend", "Preferences", "Tokens"]
