"""What is served: flags, their evaluation, and the record of every change.

This room knows neither `policies` nor `gateway`; contents of variants are opaque JSON to it.

model      Flag, Variant, Rollout, Layer: the nouns, frozen. codec and fields read and write their stored form,
           flagd that of flagd's files, canonical the bytes that are hashed; errors is the tree of what can go wrong.
resolve    One flag, one context, one answer, from a flag made ready by compiled; bucket tosses the coin. targeting
           compiles a rule, of JSONLogic (logic, forms, operators, coercion, scope) and flagd's own operators
           (flagd_operators, semver).
ledger     The hash-chained record of Changes. audit checks it, with merkle's tree.
store      Commits to the ledger in Redis, and reads: change has its nouns, keys every key, scripts the Lua, connect
           the clients, call the bounds of one call, fleet the workers and their acknowledgements.
snapshot   All objects as of one revision, immutable, swapped whole. watch keeps it fresh, in slices; disk keeps a copy.
embedded   A real Valkey as a supervised child, for those who have no Redis at hand; lifeline ends it with us.
"""
