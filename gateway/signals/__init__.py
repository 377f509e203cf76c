"""Signals from outside: who sends them, how they are proven, and what they say."""
