"""When what is served changes: the operators' verbs, and (with the gauge) measurement and judgement.

This room knows `flags` and not `gateway`: it decides, and neither speaks HTTP nor forwards a request.

outcome   How one decision ended: ending, blame, seconds, tokens. recorder keeps them, bounded.
verbs     switch, rollout, rollback, withdraw, restore as pure steps from one Flag to the next.
"""
