"""The whole system on one machine: a real broker, the sandbox and every role, each its own process."""
