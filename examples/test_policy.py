"""Tests of a policy, in virtual time: a night passes in a millisecond (docs/testing-policies.md)."""

from app.testing import World

POLICY = """
categories:
  security: {channels: [sms, email], opt_out: never, verified: {sms: false}}
  orders: {channels: [push, email]}
  other: {channels: [in_app]}
defaults:
  quiet_hours: {start: "22:00", end: "08:00"}
event_types:
  login.code: {category: security, priority: critical, template: code}
  order.shipped: {category: orders, template: shipped}
"""


def test_a_parcel_does_not_ring_at_night() -> None:
    world = World(policy=POLICY, at="2026-03-01T23:00:00Z")
    world.user("ada", timezone="Europe/London", devices=["ios"])

    world.request("ada", "order.shipped")

    assert [sent.channel for sent in world.sent("ada")] == ["email"]
    world.until("2026-03-02T08:00:00Z")
    assert [sent.channel for sent in world.sent("ada")] == ["email", "push"]


def test_a_security_code_comes_at_any_hour() -> None:
    world = World(policy=POLICY, at="2026-03-01T23:00:00Z")
    world.user("ada", timezone="Europe/London", phone="+442071838750")

    world.request("ada", "login.code")

    assert "sms" in [sent.channel for sent in world.sent("ada")]
