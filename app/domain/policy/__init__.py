"""The policy: the one declarative, versioned document that says who is told what, when and how (docs/policy.md)."""

from app.domain.policy.checks import duration_ms
from app.domain.policy.compile import parse_policy
from app.domain.policy.difference import Difference, differences
from app.domain.policy.model import (
    Category,
    EventRule,
    InDoubt,
    Policy,
    ProviderChoice,
    Rate,
    Retries,
    SmsLimit,
    Tracking,
    WarmUp,
)
from app.domain.policy.problems import PolicyError, Problem
from app.domain.policy.schema import policy_schema

__all__ = [
    "Category",
    "Difference",
    "EventRule",
    "InDoubt",
    "Policy",
    "PolicyError",
    "Problem",
    "ProviderChoice",
    "Rate",
    "Retries",
    "SmsLimit",
    "Tracking",
    "WarmUp",
    "differences",
    "duration_ms",
    "parse_policy",
    "policy_schema",
]
