"""GET /metrics: the fleet's totals as text, whichever worker is asked. Knows HTTP and where the facts are.

Who may read it: as on the operators' side. Without operators' tokens whoever reaches the loopback interface; with them
any of their roles, viewer included.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flags.errors import FlagError, StoreUnavailable
from flags.fleet import WorkerInfo, WorkerState
from flags.slices import in_slices
from flags.snapshot import Snapshot
from flags.store import Store
from gateway import __version__
from gateway.auth import Keyring, Role
from gateway.breaking.board import BreakerBoard
from gateway.deciding.elsewhere import Elsewhere
from gateway.errors import GatewayError
from gateway.figures.exemplars import Exemplars
from gateway.figures.exposition import lines_of, negotiated
from gateway.figures.metrics import Facts, families
from gateway.figures.rollbacks import Rollbacks
from gateway.figures.sight import Sight
from gateway.http.endpoint import admitted, refusal

Value = TypeVar("Value")


class House(Protocol):
    """What is asked of the application here."""

    sight: Sight
    store: Store
    worker: WorkerInfo
    board: BreakerBoard
    exemplars: Exemplars

    @property
    def elsewhere(self) -> Elsewhere:
        """Who decides the versions of routes whose decisions are not the store's."""
        ...

    @property
    def keys(self) -> Keyring:
        """Who may come in."""
        ...

    def degraded(self) -> bool:
        """Whether this process serves without its store."""
        ...

    def diverted(self) -> Mapping[str, str]:
        """What this worker has taken out of service by itself: the version, by flag."""
        ...

    def snapshot(self) -> Snapshot:
        """The newest snapshot. Raises NotReady before the first."""
        ...


class Metrics:
    """Answers a scrape. What changes here: what it remembers of the ledger.

    `running` counts the requests that are being served, `age_seconds` the time since the snapshot was known to be
    the newest; `ofrep` the answers by OFREP and the streams that are open.
    """

    def __init__(
        self,
        house: House,
        *,
        running: Callable[[], int],
        age_seconds: Callable[[], float],
        ofrep: Callable[[], tuple[Mapping[str, int], int]],
    ) -> None:
        self._house = house
        self._running, self._age_seconds, self._ofrep = running, age_seconds, ofrep
        self._rollbacks = Rollbacks(house.store)

    def routes(self) -> list[Route]:
        """`/metrics`."""
        return [Route("/metrics", self.answer, methods=["GET"])]

    async def answer(self, request: Request) -> Response:
        """The text that `Accept` asks for."""
        try:
            admitted(self._house.keys, request, needs=Role.VIEWER)
            facts = await self._facts()
        except (FlagError, GatewayError) as error:
            return refusal(error)
        form = negotiated(request.headers.get("accept", ""))
        # A thousand routes are megabytes: requests are served between the lines.
        lines = [line async for line in in_slices(lines_of(families(facts, self._house.exemplars), form))]
        text = "".join(f"{line}\n" for line in lines)
        # Starlette would add a charset of its own.
        return Response(text, headers={"content-type": form.value, "cache-control": "no-store"})

    async def _facts(self) -> Facts:
        """All that is known, with or without the store."""
        house = self._house
        snapshot = house.snapshot()
        # Who does not answer once is not asked again: a scrape waits half a second at most.
        totals = await house.sight.totals(away=house.degraded())
        judgements = await house.sight.judgements(away=totals.stale)
        rollbacks, away = await _asked(self._rollbacks.counted, self._rollbacks.last, away=judgements.stale)
        nobody: Sequence[WorkerState] = ()
        workers, away = await _asked(house.store.workers, nobody, away=away)
        board = await house.board.all(away=away)
        answered, streams = self._ofrep()
        decided_by = house.elsewhere.by_route()
        return Facts(
            worker=house.worker.id,
            version=__version__,
            revision=snapshot.position.revision,
            age_seconds=self._age_seconds(),
            degraded=away or board.degraded,
            in_flight=self._running(),
            diverted=sorted(house.diverted()),
            totals=totals.value,
            judgements=judgements.value,
            rollbacks=rollbacks,
            breakers=board.breakers,
            workers=workers,
            decided_by={(route, each.provider): not each.why for route, each in decided_by.items()},
            undecided=house.elsewhere.failures,
            ofrep=answered,
            streams=streams,
            flags=[each.flag async for each in in_slices(snapshot.flags.values()) if each.flag.rollout],
        )


async def _asked(ask: Callable[[], Awaitable[Value]], last: Value, *, away: bool) -> tuple[Value, bool]:
    """The store's answer and False; where it is away, `last` and True."""
    if away:
        return last, True
    try:
        return await ask(), False
    except StoreUnavailable:
        return last, True
