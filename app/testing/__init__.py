"""A kit for testing a policy: a world with the real rules, and a clock that moves when told."""

from app.domain.outcome import Outcome
from app.testing.providers import Accepting, Answer
from app.testing.replays import Replay
from app.testing.world import Sent, Waiting, World
from schemas.decode import Invalid

__all__ = ["Accepting", "Answer", "Invalid", "Outcome", "Replay", "Sent", "Waiting", "World"]
