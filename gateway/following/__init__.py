"""A flagd file that `serve --flagd` follows: its text operates its flags, and nothing else's.

text.py      the file as it stands: its flags, each with the hash of its text; or all that is wrong with it
planning.py  what a changed text writes: pure
follower.py  who looks at the file, four times a second, and writes
"""
