"""What this process says of its own state. Pure: facts in, one document out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """`revision` None: no snapshot yet. `age_seconds`: since the snapshot was last known to be the newest."""

    revision: int | None
    draining: bool
    degraded: bool
    age_seconds: float

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.revision is not None and not self.draining

    @property
    def status(self) -> str:
        """One word for people."""
        if self.draining:
            return "shutting_down"
        if self.revision is None:
            return "starting"
        return "degraded" if self.degraded else "healthy"

    def document(self) -> dict[str, object]:
        """The body of `/readyz`; `db` as LiteLLM's users know it."""
        return {
            "status": self.status,
            "db": "disconnected" if self.degraded else "connected",
            "revision": self.revision,
            "snapshot_age_seconds": round(self.age_seconds, 3),
            "degraded": ["redis"] if self.degraded else [],
        }
