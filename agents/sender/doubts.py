"""Counts sends in doubt, and what settled those that no longer are, for metrics."""

from collections.abc import Callable
from typing import Literal

from schemas.words import Provider

#: ``receipt``: something came back of the send · ``found``: asked, the provider knew it · ``answer``: the call's own
#: answer came after all, here or with a former owner of the partition · ``resent``: sent once more · ``given_up``: it
#: ended as ``unknown``.
How = Literal["receipt", "found", "answer", "resent", "given_up"]
HOWS: tuple[How, ...] = ("receipt", "found", "answer", "resent", "given_up")

#: Called with each doubt that is settled.
Settled = Callable[[Provider, How], None]
