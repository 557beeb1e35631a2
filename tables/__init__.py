"""What we remember: one file a table, with its row and typed access to it."""
