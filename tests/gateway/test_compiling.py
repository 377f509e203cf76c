"""A Serving is compiled when the snapshot changes, and only what changed."""

from __future__ import annotations

from gateway.compiling import compile_serving
from tests.gateway.builders import MODEL, serving


def test_a_recompiled_snapshot_keeps_what_did_not_change() -> None:
    served = serving()
    again = compile_serving(served.snapshot, served, frozenset())

    assert again.routes["support-bot"] is served.routes["support-bot"]
    assert (
        MODEL["upstream"]
        == served.routes["support-bot"].layers[1].versions["gpt-4.1"].prepared.content.upstream
    )  # type: ignore[union-attr]
