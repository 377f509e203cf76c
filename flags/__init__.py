"""What is served: flags, their evaluation, and the record of every change.

This room knows neither `policies` nor `gateway`; contents of variants are opaque JSON to it.

model     Flag, Variant, Rollout, Layer: the nouns, frozen. codec reads and writes their stored form.
resolve   One flag, one context, one answer. targeting and logic compile rules; bucket tosses the coin.
ledger    The hash-chained record of Changes. store commits to it in Redis; keys names every key.
snapshot  All objects as of one revision, immutable, swapped whole. watch keeps it fresh, disk keeps a copy.
embedded  A real Valkey as a supervised child, for those who have no Redis at hand.
"""
