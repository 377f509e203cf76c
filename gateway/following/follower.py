"""Who follows a flagd file: looks at it, reads what changed, and has it written. Knows the file and the store; no flag's rules.

Only the first worker has one. A file that cannot be taken changes nothing, is told once, and is looked at on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from flags.change import Committed, Draft, View
from flags.edge import Edge
from flags.errors import Conflict, FlagError, StoreUnavailable
from flags.ledger import Author
from flags.model import Kind, ObjectKey
from flags.store import Store
from gateway.config.declaration import ConfigInvalid
from gateway.config.files import FILE_BYTES_MAX
from gateway.declaring.declarations import known_in
from gateway.following.planning import FollowPlan, follow_plan
from gateway.following.text import FileText, read_flagd

log = logging.getLogger("pointsman.flagd")

# An edit is seen within this; a look is one `stat`.
LOOK_SECONDS = 0.25
# Looks between two attempts to write while Redis is away: two seconds.
AWAY_LOOKS = 8
# Two edits within one tick of a file system's clock leave the same time and, perhaps, size: a file that young is read
# again. The coarsest clocks in use count two seconds.
YOUNG_SECONDS = 2.0
# Of what is wrong with a file the ledger holds so many characters.
NOTE_CHARACTERS = 1_000
# In the place of a digest.
MISSING = "missing"
NOTED = ObjectKey(Kind.LEDGER, "flagd")


class _Stamp(NamedTuple):
    """What a `stat` says of a file; another file under the same name (rename, swapped link) has another."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class Follower:
    """Follows one file. What changes here: what was seen, taken and told last, and how long to wait."""

    def __init__(
        self, store: Store, path: Path, *, sleep: Callable[[float], Awaitable[None]], now: Callable[[], float]
    ) -> None:
        self._store, self._path = store, path
        self._sleep, self._now = sleep, now
        self.file = f"flagd/{path.name}"
        # Why the file is not taken as it stands; "" while all is well.
        self.problem = ""
        self._stamp: _Stamp | None = None
        # The digests of the contents that were taken, refused, and seen once and not judged yet.
        self._taken = self._refused = self._seen = ""
        self._wait = 0
        self._away = False

    def __repr__(self) -> str:
        return f"<Follower of {self._path}, problem={self.problem!r}>"

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._sleep(LOOK_SECONDS)
            with Edge(log, "following %s", self._path):
                await self.look()

    async def look(self) -> Committed | None:
        """Take the file as it is, where it is another than before; what was written. Raises nothing that is foreseen."""
        if self._wait > 0:
            self._wait -= 1
            return None
        found = await asyncio.to_thread(self._changed)
        if found is None:
            return None
        if isinstance(found, OSError):
            await self._missing(found)
            return None
        if found == self._taken:
            self._recovered()
            return None
        if found == self._refused:
            return None
        # A cut-off JSON file is no JSON; a cut-off YAML file may be one, with fewer flags: it must be seen twice.
        if self._path.suffix.lower() != ".json" and self._seen != found and self._taken:
            self._seen = found
            return None
        return await self._take(found)

    async def _missing(self, error: OSError) -> None:
        """Gone for one look only is a file that is just being replaced."""
        if self._seen == MISSING or not self._taken:
            await self._refuse("", f"{self._path}: cannot be read: {error.strerror or error}")
        else:
            self._seen = MISSING

    def _changed(self) -> str | OSError | None:
        """The digest of the file's content; None where its stamp says that it is what it was."""
        try:
            stat = self._path.stat()
            stamp = _Stamp(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            young = self._now() - stat.st_mtime < YOUNG_SECONDS
            if stamp == self._stamp and not young and not self._seen:
                return None
            if not self._path.is_file():
                return OSError(0, "this is no file")
            with self._path.open("rb") as file:
                found = hashlib.sha256(file.read(FILE_BYTES_MAX + 1)).hexdigest()
        except OSError as error:
            self._stamp = None
            return error
        self._stamp = stamp
        return found

    async def _take(self, found: str) -> Committed | None:
        try:
            text, plan, committed = await self._written()
        except ConfigInvalid as error:
            # Seen once it may be half written: it is told when it is still so at the next look.
            if self._seen == found or not self._taken:
                await self._refuse(found, str(error))
            else:
                self._seen = found
            return None
        except (StoreUnavailable, Conflict) as error:
            self._put_off(str(error), found)
            return None
        except FlagError as error:
            await self._refuse(found, f"{self._path}: {error}")
            return None
        self._taken, self._refused, self._seen, self._away = found, "", "", False
        for line in (*text.left, *plan.told):
            log.warning("%s: %s", self.file, line)
        self._recovered()
        log.info("%s taken: flags %d, changes %d", self._path, len(text.flags), len(committed.entries))
        return committed

    async def _written(self) -> tuple[FileText, FollowPlan, Committed]:
        loaded = await self._store.load()
        text = await asyncio.to_thread(read_flagd, self._path, known_in(loaded.objects))
        early = View(loaded.position, await self._store.time(), loaded.objects)
        plans = [await asyncio.to_thread(follow_plan, self.file, text.flags, early, loaded.contents)]

        def decide(view: View) -> Sequence[Draft]:
            # Usually nobody wrote meanwhile, and what was planned off the loop holds.
            if view.position != early.position:
                plans.append(follow_plan(self.file, text.flags, view, loaded.contents))
            return plans[-1].drafts

        author = Author(self.file, f"serve --flagd {self._path.name}")
        committed = await self._store.change(author, None, decide, insist=True)
        return text, plans[-1], committed

    def _put_off(self, why: str, found: str) -> None:
        self._wait, self._stamp = AWAY_LOOKS, None
        # Not to be seen a second time: it was read and is good, as far as it could be told.
        self._seen = found
        if not self._away:
            log.warning("%s is not taken yet, Redis is away: %s", self._path, why)
        self._away = True

    async def _refuse(self, found: str, why: str) -> None:
        """Keep what stands, and say why; once for each content."""
        self._refused, self._seen = found, ""
        if why == self.problem:
            return
        self.problem = why
        log.error("the flagd file is not taken, everything stays as it was: %s", why)
        await self._note("refused", why)

    def _recovered(self) -> None:
        self._refused = self._seen = ""
        if self.problem:
            log.info("%s is good again", self._path)
        self.problem = ""

    async def _note(self, action: str, why: str) -> None:
        """Tell it in the ledger too, where every operator sees it; Redis away: the log has it."""
        note = Draft(action, NOTED, None, affects=False)
        author = Author(self.file, why[:NOTE_CHARACTERS])
        try:
            await self._store.change(author, None, lambda _: [note], insist=True)
        except FlagError as error:
            log.warning("%s: this is not in the ledger: %s", self.file, error)
