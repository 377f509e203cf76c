"""Evals: a suite of cases, what a version answered to them, and whether that is good enough.

suite      a resolved promptfoo document becomes a Suite; its hash
case       a case and its assertions, what we lack in it told by name
question   a case made ready to be asked: messages, and assertions with the variables filled in
answer     what a version answered
checks     one assertion on one answer (texts, schema, patterns, judged: how)
grader     who compares meanings and judges: a protocol, for nothing here calls anything
result     how a case ended, scored as promptfoo scores
gate       how a run ended, judged over repeats
report     a run as JSON

Nothing here knows the gateway, its config or a file. What could not be evaluated is never a pass.
"""
