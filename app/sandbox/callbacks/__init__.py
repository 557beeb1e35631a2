"""What providers report later of what they took: the sandbox posts it to a gateway, signed as each vendor signs."""
