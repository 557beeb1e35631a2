"""Makes the clients' types of the gateway's description: ``python -m clients.types``."""
