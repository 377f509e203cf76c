"""The channels by which people are told, and the worker's loop that empties the outbox into them."""
