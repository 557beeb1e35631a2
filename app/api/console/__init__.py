"""The operators' console at ``/console``: pages over the API, for whoever has an admin key.

Every page asks the API's own handlers (``inner``), as the session's caller: what a key may do, what the audit
log gets and what is refused are decided there. Pages are rendered here; nothing comes from another host.
"""
