"""The gateway: HTTP in, records out, and answers from the owner of a user's partition or from history."""
