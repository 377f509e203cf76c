"""Breakers: local protection from a failing target, its table, its board, and what operators force."""
