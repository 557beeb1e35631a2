"""Fault experiments against real processes on real Kafka, and the program that judges them."""
