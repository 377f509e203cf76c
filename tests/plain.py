"""Requests to servers on loopback, each on a connection of its own. Knows plain HTTP, and no certificate.

`httpx.get` reads the certificates of all public authorities for every call: 25 ms of computing that no test asks for.
"""

from __future__ import annotations

from functools import partial

import httpx

get = partial(httpx.get, verify=False)
post = partial(httpx.post, verify=False)
stream = partial(httpx.stream, verify=False)
