"""Every Redis key of a namespace: its name, type, meaning and writer. Knows no command and no connection.

All keys of a namespace share one hash tag, so that one script can touch them in a Redis Cluster.

key        type    field → value                                          written by
head       hash    revision, hash (of the last entry), affecting          apply.lua
                   (revision of the last entry that changed an evaluation)
ledger     stream  id `<revision>-0`, field e = canonical JSON of entry   apply.lua
objects    hash    `<kind>/<name>` → {"document", "revision"}             apply.lua
contents   hash    SHA-256 → canonical JSON, written once                 apply.lua
workers    hash    worker id → `<milliseconds of last beat> <JSON>`       beat.lua, Fleet.leave, Fleet.forget
secrets    hash    name → bytes, written once                             Store.secret
anchor     hash    revision, hash (the entry that it was taken at), size,  anchor.lua
                   frontier (hex, by spaces: roots of the full subtrees)
checkpoint hash    revision, hash (the last entry that was archived and   trim.lua
                   trimmed away), document (flags/checkpoint.py, JSON), parts
                   and tallies (two of its fields, once more)

Measurements, all written by flush.lua of policies (what else writes is named); packed: MessagePack.

totals         hash    subject → its packed measures since ever (policies/series.py names both)
window:<min>   hash    the same of that minute of Redis' clock; 6 hours
batch:<worker> string  number of the worker's last batch that was counted; 1 day
evidence:<case> hash   what is known of a case, 7 days after its last: since, weight, candidate, control, judged,
                       named and plain (units met); s|<policy>|<n> packed segment, the last 60; h|<policy> packed
                       number of the last segment, sums, and the memory of units; d|<policy> packed kind, running
                       second and detector; q|<policy> packed thresholds, written once by fix.lua
units:<case>:<policy id> set  `<event>|<unit>` that were counted lately, and `#`; 1 day
seconds:<case>:<policy> list  packed finished seconds, oldest first; 7 days
requests       hash    request id → `<number in decisions>/<second>/<unit>`, the last 100,000
request_order  list    their ids, oldest first
decisions      hash    # last number; t<number> → what answered (policies/answered.py), n<text> → number,
                       c<number> → requests that it answered
scored:<day>   set     keys of the scores that were counted; 8 days
breaking       hash    `<route>|<target>` → packed buckets of 10 s; 1 minute after the last
breakers:<worker> string  how the worker's breakers stand, JSON; 1 hour; BreakerShelf (gateway/breaker_board.py)
alarm:<name>   string  set while somebody has rung: Measures.alarm
lease:<name>   string  `<worker>/<token>` of who does this piece of work now, or `rests`; some seconds; hold.lua, rest.lua
                       (policies/lease.py)
report:<id>    string  report of a run of evals, JSON, zlib; id: SHA-256 of the JSON; 400 days, of a scheduled run that
                       passed 7 days; Reports (gateway/evals/reports.py)
reported:<flag>|<variant> hash  `<content>|<target>` → packed names that providers report: known, fresh, told; 30 days
               after the last; names.lua of policies
signal:<source>:<digest> string  `taken` (1 minute), then `done`: a signal that is not taken again, 1 day after the last;
                       SeenSignals (gateway/signals/taking.py)
complaints:<policy>:<release> sorted set  who complained (a unit; `#<request>` of nobody) → milliseconds of their last; as
                       long as the policy's window; complaints.lua of policies
tracks         stream  field t = JSON of a Track (flags/tracking.py) that no gateway has taken yet; the newest 10,000;
                       track.lua adds, take.lua takes away
given:<minute> hash    `<second>|<flag>|<route>|<variant>|<how>` → how often a provider of decisions gave that, each user
                       once; 15 minutes; given.lua of policies
answer:<digest> string packed answer (gateway/kept.py), for as long as its route says; RedisShelf (gateway/cache.py)

Notices, all written by scripts of policies (tell, claim, settle, revive, forsake); policies/notices/outbox.py.

notices:cursor hash    revision, hash and time of the last entry that was looked at
notices:channels set   channels for which deliveries wait
notices:due:<channel> sorted set  event id → milliseconds when it is sent, or when the lease of its sender is over
notice:<event id> hash event (JSON), more (events alike that it tells of as well), merged (the event that tells of this
                       one), and `<field>|<channel>`: state, attempts, first, at, error, detail, token; 30 days
notices:told   list    `<event id>|<channel>`, newest first; the last 1,000
notices:dead   sorted set  the same → milliseconds; the last 1,000
notices:rate:<kind>|<object> hash  since, n, leader: how many of a kind were told of an object in the hour
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flags.errors import Invalid

# A brace would end the hash tag early, a colon would let two namespaces meet.
NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the keys of one namespace. Raises Invalid for a namespace that could leave its tag."""

    namespace: str

    def __post_init__(self) -> None:
        if not NAMESPACE.fullmatch(self.namespace):
            raise Invalid(
                "namespace",
                f"{self.namespace!r} is no namespace: expected letters, digits, '.', '_' or '-', at most 64",
                mend="choose a name such as default",
            )

    def _key(self, name: str) -> str:
        return f"{{pointsman:{self.namespace}}}:{name}"

    @property
    def head(self) -> str:
        return self._key("head")

    @property
    def ledger(self) -> str:
        return self._key("ledger")

    @property
    def objects(self) -> str:
        return self._key("objects")

    @property
    def contents(self) -> str:
        return self._key("contents")

    @property
    def workers(self) -> str:
        return self._key("workers")

    @property
    def secrets(self) -> str:
        return self._key("secrets")

    @property
    def anchor(self) -> str:
        return self._key("anchor")

    @property
    def checkpoint(self) -> str:
        return self._key("checkpoint")

    @property
    def prefix(self) -> str:
        """What all keys begin with, for a script that makes names itself (in the slot of this tag)."""
        return self._key("")

    @property
    def totals(self) -> str:
        return self._key("totals")

    @property
    def requests(self) -> str:
        return self._key("requests")

    @property
    def request_order(self) -> str:
        return self._key("request_order")

    @property
    def decisions(self) -> str:
        return self._key("decisions")

    @property
    def breaking(self) -> str:
        return self._key("breaking")

    @property
    def given(self) -> str:
        """What providers of decisions gave; a minute's number follows."""
        return self._key("given")

    @property
    def tracks(self) -> str:
        return self._key("tracks")

    def batch(self, worker: str) -> str:
        """The number of a worker's last batch."""
        return self._key(f"batch:{worker}")

    def breakers(self, worker: str) -> str:
        """How a worker's breakers stand."""
        return self._key(f"breakers:{worker}")

    def answer(self, digest: str) -> str:
        """An answer that is kept for requests that are exactly alike."""
        return self._key(f"answer:{digest}")

    def evidence(self, case: str) -> str:
        """What is known of a case."""
        return self._key(f"evidence:{case}")

    def seconds(self, case: str, policy_id: str) -> str:
        """A watch's or threshold's finished seconds."""
        return self._key(f"seconds:{case}:{policy_id}")

    def alarm(self, name: str) -> str:
        """Whether somebody has rung."""
        return self._key(f"alarm:{name}")

    def signal(self, source: str, digest: str) -> str:
        """Whether a signal was taken."""
        return self._key(f"signal:{source}:{digest}")

    def complaints(self, policy_id: str, release: str) -> str:
        """Who complained of a release lately, by a policy's count."""
        return self._key(f"complaints:{policy_id}:{release}")

    def report(self, digest: str) -> str:
        """The report of a run of evals."""
        return self._key(f"report:{digest}")

    def lease(self, name: str) -> str:
        """Who does a piece of work now."""
        return self._key(f"lease:{name}")

    @property
    def notices_cursor(self) -> str:
        return self._key("notices:cursor")

    @property
    def notices_channels(self) -> str:
        return self._key("notices:channels")

    @property
    def notices_told(self) -> str:
        return self._key("notices:told")

    @property
    def notices_dead(self) -> str:
        return self._key("notices:dead")

    def notice(self, event_id: str) -> str:
        """An event that people are told of, and how far that is."""
        return self._key(f"notice:{event_id}")

    def reported(self, flag: str, variant: str) -> str:
        """The names under which providers answer for a version."""
        return self._key(f"reported:{flag}|{variant}")
