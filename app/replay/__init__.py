"""Replays: what a channel did not get out is sent again, by a job that one gateway at a time runs."""
