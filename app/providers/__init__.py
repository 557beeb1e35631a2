"""How the vendors are reached: one vendor, one file; their words stop there."""
