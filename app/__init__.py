"""Tocsin: decides, sends and explains every notification that a company owes its users."""
