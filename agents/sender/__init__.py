"""The senders of push, email and SMS: each send that the router queued is called once."""
