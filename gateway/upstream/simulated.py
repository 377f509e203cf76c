"""An upstream within the process (`kind: simulated`): scripted answers, delays, errors and faults on every wire.

Knows nothing of who asks, and opens no connection.

Which reply holds: the body's own `simulate` object, else the first matching rule's, else the spec's
`reply`, else the default. `hang` and `cut` strike before the head of the response where `after_chunks`
is 0, else after so many chunks of content; an answer that comes at once then breaks in the middle of its body.
`error_rate` is counted: of k calls that found this reply, floor(k · rate) have failed.
"""

from __future__ import annotations

import asyncio
import hashlib
import math

import msgspec

from gateway.errors import UpstreamRefused
from gateway.patience import Patience
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream.base import JSON, Answer, UpstreamRequest
from gateway.upstream.playback import Part, Playback, Script
from gateway.upstream.repertoire import Call, spoken
from gateway.upstream.staging import script_of, staged
from gateway.upstream.wording import Asked, Voice, Whole
from gateway.upstream.wording_errors import error_for, request_id
from gateway.upstream.wording_shelf import Missing, Shelf

# Replies in request bodies may carry an `error_rate` too; above this many counting begins anew.
MAX_COUNTED = 1024


class Simulated:
    """Implements `base.Upstream`. What changes here: calls counted by reply, which answers run, what was filed."""

    def __init__(self, spec: UpstreamSpec, *, patience: Patience, loop: asyncio.AbstractEventLoop) -> None:
        self.running: set[Playback] = set()
        self._patience = patience
        self._loop = loop
        self._rules = tuple(spec.rules)
        self._default = spec.reply or Reply()
        self._calls: dict[tuple[int, bytes], int] = {}
        self._shelf = Shelf()

    def speaks(self, path: str) -> bool:
        """Everything; what no wire has is answered with 404."""
        return True

    async def send(self, request: UpstreamRequest) -> Answer:
        """Answer as the script says. Raises UpstreamRefused, UpstreamCut, UpstreamTimedOut."""
        script = self._script(request)
        answer = Playback(
            script, self.running, patience=self._patience, loop=self._loop, expires_at=request.expires_at
        )
        await answer.begin(script.opening)
        return answer

    def retire(self) -> None:
        """Nothing is kept, and answers under way end by themselves."""

    async def aclose(self) -> None:
        """End all answers under way. Idempotent."""
        for answer in tuple(self.running):
            answer.close()

    def _script(self, request: UpstreamRequest) -> Script:
        wire = spoken(request)
        try:
            asked = Asked() if wire is None else wire.read(request)
            reply = self._reply(asked, request)
            if reply.fault == "refuse":
                raise UpstreamRefused("the simulated upstream refuses connections, as its script says")
            if reply.status >= 400:
                return _error(
                    request, reply, reply.text or f"the simulated upstream fails with {reply.status}"
                )
            digest = hashlib.sha256(request.body).hexdigest()
            if wire is None:
                told: Whole | Voice = self._shelf.answer(request)
            else:
                told = wire.tell(Call(request, asked, reply, digest))
        except Missing as missing:
            return _error(request, Reply(status=404), str(missing))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _error(request, Reply(status=400), f"the request is not understood: {error}")
        return staged(reply, told, request.path, digest)

    def _reply(self, asked: Asked, request: UpstreamRequest) -> Reply:
        """The reply that holds for this call."""
        if asked.simulate is not None:
            return self._counted(-1, msgspec.convert(asked.simulate, Reply))
        for place, rule in enumerate(self._rules):
            if _matches(rule, asked, request):
                return self._counted(place, rule.reply)
        return self._counted(len(self._rules), self._default)

    def _counted(self, place: int, reply: Reply) -> Reply:
        """The reply, found at `place`, as it holds for this call: `error_rate` decides whether it fails."""
        if reply.error_rate is None:
            return reply
        if len(self._calls) >= MAX_COUNTED:
            self._calls.clear()
        key = place, msgspec.json.encode(reply)
        count = self._calls[key] = self._calls.get(key, 0) + 1
        if not fails(count, reply.error_rate):
            return msgspec.structs.replace(reply, status=200, fault=None)
        if reply.fault is None and reply.status < 400:
            return msgspec.structs.replace(reply, status=500)
        return reply


def fails(count: int, rate: float) -> bool:
    """Whether the `count`-th call (from 1) is one that fails: evenly spread, floor(count · rate) in all."""
    nudge = 1e-9  # 0.29 * 100 is 28.999…
    return math.floor(count * rate + nudge) > math.floor((count - 1) * rate + nudge)


def _matches(rule: Rule, asked: Asked, request: UpstreamRequest) -> bool:
    if rule.model is not None and rule.model != asked.model:
        return False
    if rule.path is not None and rule.path != request.path.partition("?")[0]:
        return False
    if rule.contains is None or rule.contains.encode() in request.body:
        return True
    if request.method != "POST" or not request.content_type.startswith(JSON):
        return False
    # Senders may write é as \u00e9; looked for once more in the one spelling of our own.
    return rule.contains in msgspec.json.encode(msgspec.json.decode(request.body)).decode()


def _error(request: UpstreamRequest, reply: Reply, message: str) -> Script:
    parts = iter([Part(error_for(request.path, message, reply.status))])
    return script_of(reply, parts, JSON, request_id(request.path, hashlib.sha256(request.body).hexdigest()))
