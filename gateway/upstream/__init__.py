"""Speaking to providers. Knows no route, no flag and no client.

base      What the pipeline asks of any upstream: one protocol.
native    OpenAI, Anthropic, Qdrant over HTTP/1.1, made of paths (who speaks what), endpoint (addresses, heads), pool,
          http1 (one connection) and tls.
simulated Scripted answers within the process, made of repertoire (the wires), wording (what is said) with one
          module a wire, staging (faults) and playback (when it comes).
secret    From a reference to a secret to its value.
"""
