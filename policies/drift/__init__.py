"""Whether what is served is still what was approved: the names that providers report, and how a version behaves.

`names` counts what is reported, `registry` compares it with what the fleet knows; `baseline` is how a version behaved when
it was approved, `shift` tells a real change from chance; `note` says it, `watch` does all of it in the background.
"""
