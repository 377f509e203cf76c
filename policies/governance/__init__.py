"""The rulebook: a version's card, what it must satisfy, the last known good one, and the record of a governed rollback."""
