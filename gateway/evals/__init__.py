"""Evals through the gateway itself: a suite is read, asked of a version, graded, judged, and its report kept.

reading    a suite's files become one document
asking     one question, in this process, through the whole pipeline
grading    who judges and who compares meanings
wanted     which suite, route and thresholds a run goes by
running    a run: bounded in number and memory, with progress
reports    where reports are kept
evaluator  a run's result on the version's card
schedule   suites that run again and again against what is served
external   a report that was made elsewhere
promptfoo  an installed promptfoo runs a suite, and its result becomes a report
"""
