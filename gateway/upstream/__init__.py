"""Speaking to providers. Knows no route, no flag and no client.

base      What the pipeline asks of any upstream: one protocol.
native    OpenAI's wire over HTTP/1.1, made of endpoint (addresses, heads), pool, http1 (one connection) and tls.
simulated Scripted answers within the process, made of wording (what is said) and playback (when it comes).
secret    From a reference to a secret to its value.
"""
