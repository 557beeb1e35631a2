"""Makes the links, and reads their tokens."""

from collections.abc import Mapping
from typing import Any, Final

from app.domain.links.tokens import Click, OfSend, Preferences, Tokens
from schemas.sends import Send

#: How long a link to a preference page is good.
PREFERENCES_MS: Final = 30 * 24 * 3600 * 1000

#: What templates see where no link can be made (and their data has nothing of that name).
NO_LINKS: Mapping[str, Any] = {"unsubscribe_url": None, "preferences_url": None}

_OPEN, _CLICK, _UNSUBSCRIBE, _PREFERENCES = (
    "/v1/track/open/",
    "/v1/track/click/",
    "/v1/unsubscribe/",
    "/preferences/",
)


class Links:
    """``public_url``: where recipients reach the gateway."""

    def __init__(self, public_url: str, tokens: Tokens) -> None:
        self._public_url = public_url.rstrip("/")
        self.tokens = tokens

    def unsubscribe(self, send: Send, key: str | None = None) -> str:
        return f"{self._public_url}{_UNSUBSCRIBE}{self.tokens.make('unsubscribe', of_send(send), key)}"

    def opened(self, send: Send, key: str | None = None) -> str:
        """A picture of one pixel."""
        return f"{self._public_url}{_OPEN}{self.tokens.make('open', of_send(send), key)}.gif"

    def clicked(self, send: Send, url: str, key: str | None = None) -> str:
        """Leads to ``url``."""
        return f"{self._public_url}{_CLICK}{self.tokens.make('click', Click(of_send(send), url), key)}"

    def preferences(self, user_id: str, made_at: int, key: str | None = None) -> str:
        """``made_at``: Unix ms; the link is good for ``PREFERENCES_MS`` from then on."""
        until = (made_at + PREFERENCES_MS) // 1000
        return f"{self._public_url}{_PREFERENCES}{self.tokens.make('preferences', Preferences(user_id, until), key)}"

    def samples(self) -> Mapping[str, str]:
        """What templates see of links, of nobody: they lead to a page that says so."""
        return {
            "unsubscribe_url": f"{self._public_url}{_UNSUBSCRIBE}preview",
            "preferences_url": f"{self._public_url}{_PREFERENCES}preview",
        }

    def is_own(self, url: str) -> bool:
        """Whether the link leads to the gateway itself."""
        return url.startswith(f"{self._public_url}/") or url == self._public_url


def of_send(send: Send) -> OfSend:
    return OfSend(send.user_id, send.channel, send.category, bytes.fromhex(send.send_id.replace("-", "")))
