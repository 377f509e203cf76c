"""The ways in: one module for each endpoint's language (CONTRACT §2). `base` says what a wire is.

A wire reads what an app asks, puts the served prompt where its bodies have room for it, and knows what its answers tell.
"""
