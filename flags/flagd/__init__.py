"""flagd's flag files (schema v0), in and out, without loss. Knows documents only: no store, no file, no evaluation.

reading.py   a file becomes declarations in the shape of our own config
writing.py   flags and their contents become a file that flagd answers alike
rules.py     what is operated (rollout, withdrawn names) as a targeting rule, and such a rule taken apart again
marks.py     what no flagd rule can say of a flag, as scalars in its metadata
spelling.py  how a file wrote what could be written otherwise, so that it comes out again as it went in
"""
