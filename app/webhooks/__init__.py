"""What providers report by webhook: each vendor's signature and events, as pure functions, one file a vendor."""
