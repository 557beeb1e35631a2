"""What the client calls itself."""

VERSION = "0.1.0"
AGENT = f"tocsin-client-python/{VERSION}"
