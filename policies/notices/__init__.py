"""Telling people: which ledger entries are notable, in what words, and the outbox that loses and repeats none of them."""
