"""What becomes of a rendered mail before it goes out (docs/policy.md#mail)."""

from app.domain.mail.finish import Added, Footer, Mail, finished

__all__ = ["Added", "Footer", "Mail", "finished"]
