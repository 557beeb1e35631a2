"""Benchmarks: what a decision costs, how long a message takes, how soon a worker is back (``make bench``)."""
