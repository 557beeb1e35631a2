"""What another policy would have made of what is recorded: run over the log into nowhere, and compared."""
