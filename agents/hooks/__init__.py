"""The hooks role: calls the services that want to know what happens to their notifications."""
