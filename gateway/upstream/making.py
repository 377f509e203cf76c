"""From an upstream's document to the live upstream of this process. Knows the kinds, no request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import Upstream
from gateway.upstream.bilingual import Bilingual
from gateway.upstream.litellm_library import Library
from gateway.upstream.native import NativeUpstream
from gateway.upstream.secret import resolve, told
from gateway.upstream.simulated import Simulated
from gateway.upstream.translated import Translated


class Maker:
    """Makes upstreams. The library that translates is begun as soon as one needs it, never before."""

    def __init__(
        self,
        environ: Mapping[str, str],
        patience: Patience,
        loop: asyncio.AbstractEventLoop,
        library: Library,
    ) -> None:
        self._environ, self._patience, self._loop, self._library = environ, patience, loop, library

    def make(self, spec: UpstreamSpec) -> Upstream:
        """The live upstream for `spec`. Raises Invalid, and UpstreamUnavailable where this process cannot use it."""
        if spec.kind == "simulated":
            return Simulated(spec, loop=self._loop, patience=self._patience)
        headers = {name: told(value, self._environ) for name, value in spec.headers.items()}
        spec = msgspec.structs.replace(spec, headers=headers)
        if spec.kind == "litellm":
            return self._translated(spec)
        api_key = resolve(spec.api_key, self._environ) if spec.api_key else None
        native = NativeUpstream(spec, api_key=api_key, patience=self._patience, loop=self._loop)
        if spec.kind == "qdrant":
            return native
        return Bilingual(native, lambda: self._translated(spec), translate=spec.translate)

    def _translated(self, spec: UpstreamSpec) -> Translated:
        self._library.begin()
        return Translated(
            spec, self._library, environ=self._environ, patience=self._patience, loop=self._loop
        )
