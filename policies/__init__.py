"""When what is served changes: the operators' verbs, and (with the gauge) measurement and judgement.

This room knows `flags` and not `gateway`: it decides, and neither speaks HTTP nor forwards a request.

outcome     How one decision ended: ending, blame, seconds, tokens, cost. recorder keeps them, bounded.
verbs       switch, rollout, rollback, withdraw, restore as pure steps from one Flag to the next; reverting, schedule.
policy      A metric with a bound, and what a breach does.
case        What is on trial as of a snapshot (roster keeps it current).
observe     Outcomes → gains; gauge flushes them, measures and scripts/ count them for the fleet, series for people.
judge       Counts → verdict, by the formulas of evidence; recount does it again from the ledger.
brake       Verdicts → Changes, by act; stepping, alarms, thresholds, diversion beside it, automation runs them.
breaker     One target's breaker as a pure state machine.
"""
