"""Makes a mail of what was rendered: its links to unsubscribe, its footer, what tells of opens and clicks."""

from dataclasses import replace

from app.domain.addresses import parse_email
from app.domain.links import Links
from app.domain.mail import Added, Footer, finished
from app.domain.policy import Policy
from app.domain.rendering import RenderError
from app.ports import Message
from schemas.sends import Send
from tables.attempts import NOTHING_MAILED, Mailed


def lacks_link(send: Send, policy: Policy, links: Links | None) -> bool:
    """Whether it is a mail that can't go out without a link to unsubscribe, and none can be made."""
    if links is not None or send.channel != "email" or send.verifies is not None:
        return False
    category = policy.categories.get(send.category)
    return category is not None and category.needs_unsubscribe


def mailed_of(send: Send, policy: Policy, links: Links | None) -> Mailed:
    """What a mail carries by the policy of now; critical mail is never tracked, and from what can't be turned off
    nobody unsubscribes."""
    category = policy.categories.get(send.category)
    if send.channel != "email" or category is None or send.verifies is not None:
        return NOTHING_MAILED
    is_critical = send.priority == "critical" or category.critical
    can_opt_out = not category.opt_out_never
    return Mailed(
        "none" if is_critical or links is None else category.tracking,
        category.unsubscribe == "one_click" and can_opt_out,
        category.footer,
        links.tokens.current if links is not None else None,
        can_opt_out,
    )


def unsubscribe_url(send: Send, policy: Policy, links: Links, key: str | None) -> str | None:
    """Where the recipient opts out of the send's category on its channel; None where they can't."""
    category = policy.categories.get(send.category)
    if category is not None and category.opt_out_never:
        return None
    return links.unsubscribe(send, key)


def mail_of(
    send: Send, parts: dict[str, str], locale: str | None, links: Links | None, mailed: Mailed, postal_address: str
) -> Message | RenderError:
    """``parts``: as rendered, in ``locale``."""
    reply_to = parts.get("reply_to") or None
    if reply_to is not None and (reply_to := parse_email(reply_to)) is None:
        return RenderError("email.reply_to", "is not a mail address")
    unsubscribe = None
    if links is not None and mailed.can_opt_out and (mailed.one_click or mailed.footer):
        unsubscribe = links.unsubscribe(send, mailed.key)
    mail = finished(
        parts.get("html"), parts.get("text"), _added(send, parts, locale, links, mailed, unsubscribe, postal_address)
    )
    headers = {}
    if unsubscribe is not None and mailed.one_click:
        headers = {"List-Unsubscribe": f"<{unsubscribe}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    return Message(subject=parts.get("subject"), html=mail.html, text=mail.text, headers=headers, reply_to=reply_to)


def _added(
    send: Send,
    parts: dict[str, str],
    locale: str | None,
    links: Links | None,
    mailed: Mailed,
    unsubscribe: str | None,
    postal_address: str,
) -> Added:
    footer = Footer(unsubscribe, postal_address) if mailed.footer else None
    added = Added(locale, parts.get("preheader") or None, footer=footer)
    if links is None or mailed.tracking == "none":
        return added
    return replace(
        added,
        pixel=links.opened(send, mailed.key) if mailed.tracking in ("opens", "all") else None,
        clicked=(lambda url: links.clicked(send, url, mailed.key)) if mailed.tracking in ("clicks", "all") else None,
        is_own=links.is_own,
    )
