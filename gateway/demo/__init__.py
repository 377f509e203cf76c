"""The demo: the machine pulls the brake under live traffic, with all it needs.

Served by nobody, imported by the `demo` command alone.
"""

from __future__ import annotations

from gateway.demo.show import run

__all__ = ["run"]
