"""The TLS settings of connections to providers: who is trusted, and how names are checked.

Knows no connection.
"""

from __future__ import annotations

import ssl

from gateway.errors import UpstreamUnavailable


def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Trust `ca_file` (PEM) or else the system's authorities; TLS 1.2 or later, names checked, ALPN http/1.1.

    Reads files (some 10 ms): make one for an upstream, not for a request. Raises UpstreamUnavailable.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UpstreamUnavailable(f"ca_file {ca_file} cannot be used: {error.strerror or error}") from error
    # Python's own default is this only since 3.11.4.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
