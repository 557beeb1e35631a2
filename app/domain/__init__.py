"""How we decide: pure functions and frozen values, with time, chance and ids as arguments."""
