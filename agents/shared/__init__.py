"""What the machines of several roles share."""
