"""The doors: HTTP in, upstream out, the operators' API and the command line.

This room may use `policies` and `flags`; neither may use it.

pipeline  One request from top to bottom: resolve, retrieve, render, dispatch, relay, record.
route     What a name stands for and which version of each layer answers; context says who asks, compiling and version
          make it all ready when the snapshot changes. render fills prompts, dispatch asks upstreams, relay answers.
house     Everything that changes in a worker is built here, handed over, and closed in reverse. app wires the doors to it,
          worker serves them, supervisor keeps the workers of a host alive.
http      The endpoints. cli: the verbs an operator types. config: the file that declares it all.
"""

__version__ = "0.1.0"
