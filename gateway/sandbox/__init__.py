"""The cage in which prompt templates run: Jinja's language, a whitelist, and a meter. Knows no flag and no request.

meter        What one rendering may use: steps, characters, CPU time. operators: the metered forms of Jinja's operators.
filters      The filters and tests that templates may use. methods: the methods of strings, lists and mappings.
environment  Jinja's sandbox with the operators rewritten, so that nothing runs unmetered.
"""
