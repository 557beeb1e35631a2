"""Judges a run by what anyone can see of it: the client's log, the sandbox's files, the topics, ClickHouse.

It shares no code with the system, so that a mistake of ours can't hide itself.
"""
