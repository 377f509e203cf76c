"""The rulebook: a version's card, what it must satisfy, the last known good one, and the record of a governed rollback.

All of it is pure, and read in this order:

    card        what is known of a version: evals, approvals, marks
    rules       what of that it must satisfy; its stage; the last known good version
    guarding    a write of `safe`, or a promotion, is refused by them
    landing     where a rollback lands by them; it is never refused
    braking     a rollback: what it makes of the flag, and the record that it opens
    record      that record and its steps
    procedure   which steps are due, and the Changes that tick them
    finding     what was seen of a step, as a state and in words
    helped      of the last step: whether the metric recovered
    changelog   the same Changes, as people read them
"""
