"""Judges a run by what anyone can see of it: the client's log, the sandbox's files, the topics, ClickHouse.

It shares no code with the system, so that a mistake of ours can't hide itself. What it reads of a run folder:

- ``run.json``: ``{name, seed, bootstrap, started_ms, quiesced_ms, in_doubt_settle_ms?, clickhouse_url?, timeout_ms?
  (of a provider call), slack_ms?, policy? (as JSON)}``
- ``accepted.jsonl``: acknowledged requests. ``poison: true`` marks one that was made to be refused
- ``commands.jsonl``: acknowledged commands, those that made the users known too
- ``injected.jsonl``: faults; one with ``stop`` in its name and an ``until_ms`` stopped a process and woke it again
- ``offsets.jsonl``: committed offsets as they were sampled, the last ones after the end
- ``campaigns.jsonl``: campaigns that have ended: ``{notification_id, source, users, status, recipients, produced,
  holds: [{from_ms, until_ms?}], allowance_ms}``. A hold goes from a pause or cancel that was acknowledged to the resume
- ``sandbox/calls.jsonl``, ``sandbox/accepted.jsonl``: the sandbox's own

Runs may share a system if they share no users: every user's records belong to one run.
"""

from faults.checker.judging import judge
from faults.checker.values import BadRun, Verdict

__all__ = ["BadRun", "Verdict", "judge"]
