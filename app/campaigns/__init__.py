"""Campaigns: one message to many, by a job that one gateway at a time runs (docs/decisions/0026-campaigns.md)."""
