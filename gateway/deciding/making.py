"""The parts of likening put together over one house. Wiring only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.deciding.diverting import Diverting
from gateway.deciding.likening import Likening, Parts
from gateway.deciding.sightings import Sightings
from policies.lease import Lease

if TYPE_CHECKING:
    from gateway.house import House

LEASE = "likenesses"


def likening_of(house: House) -> Likening:
    """One worker's, not begun yet."""
    store, worker = house.store, house.worker.id
    return Likening(
        house.elsewhere,
        Sightings(store),
        Parts(store, house.newest, house.degraded, time.monotonic),
        lambda: Lease(store, LEASE, owner=worker),
        Diverting(store, house.measures),
    )
