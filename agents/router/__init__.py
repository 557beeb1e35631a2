"""The router: what may be sent to each recipient, when and on which channel."""
