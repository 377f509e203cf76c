"""The doors: HTTP in, upstream out, the operators' API and the command line.

This room may use `policies` and `flags`; neither may use it.

pipeline  One request from top to bottom: resolve, retrieve, render, dispatch, relay, record.
route     Which layers a name stands for, compiled from the snapshot. render fills prompts, upstream speaks to providers.
app       Everything that changes is built here, handed over, and closed in reverse.
http      The endpoints. cli: the verbs an operator types. config: the file that declares it all.
"""

__version__ = "0.1.0"
