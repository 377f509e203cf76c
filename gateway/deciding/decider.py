"""One provider of decisions: registered under a domain of its own, and asked for one flag. Knows no route.

It is asked through OpenFeature's client, so its hooks, its status and its types hold as everywhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from flags.model import Flag, Reason
from gateway.deciding.loading import foreign
from gateway.decision import Given
from policies.outcome import How

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagEvaluationDetails
    from openfeature.provider import FeatureProvider

# What a flag is asked with: no variant is called so, so it is never taken for an answer.
NO_ANSWER = ""
# A foreign text stands in logs and in `explain`.
MESSAGE_CHARS = 200
HOWS: Mapping[str, How] = MappingProxyType({"SPLIT": How.COIN, "TARGETING_MATCH": How.TARGETED})
REASONS: Mapping[str, Reason] = MappingProxyType(
    {each.value: each for each in (Reason.STATIC, Reason.TARGETING_MATCH, Reason.SPLIT, Reason.STALE)}
)


class Decider:
    """A provider under the domain `pointsman/<reference>`. What changes here: which flags answer with objects, and
    whether it was found to wait."""

    def __init__(self, reference: str, provider: FeatureProvider) -> None:
        """Registers and begins to initialize it, in a thread of the SDK. Raises NotLoaded."""
        from openfeature import api  # noqa: PLC0415  # only where somebody decides elsewhere: 20 ms of a start

        self.reference, self.provider = reference, provider
        # It writes a traceback for each answer that failed; what failed is told by us, once in a while.
        logging.getLogger("openfeature").setLevel(logging.CRITICAL)
        self._domain = f"pointsman/{reference}"
        with foreign(reference):
            api.set_provider(provider, self._domain)
        self._client = api.get_client(self._domain)
        self._objects: frozenset[str] = frozenset()
        # Whether an answer took longer than it may: then it is asked as if its config said `blocking`.
        self.waits = False

    def __repr__(self) -> str:
        return f"<Decider {self.reference} {self.status}>"

    @property
    def status(self) -> str:
        """OpenFeature's status of the provider: `NOT_READY`, `READY`, `STALE`, `ERROR`, `FATAL`."""
        return str(self._client.get_provider_status().value)

    @property
    def is_asked(self) -> bool:
        """Whether its answers are its own: OpenFeature's client answers for one that is not up, or failed for good."""
        return self.status not in ("NOT_READY", "FATAL")

    @property
    def is_settled(self) -> bool:
        """Whether it has come up, or said that it cannot."""
        return self.status != "NOT_READY"

    def ask(self, flag: Flag, context: EvaluationContext, *, randomized: bool) -> Given:
        """What it gives: never raises. It may wait, where the provider does."""
        try:
            details = self._details(flag.key, context)
            if details.error_code is not None:
                return _nothing(f"{details.error_code.value}: {details.error_message or 'no message'}")
            variant = named_by(flag, details.value, details.variant)
            if variant is None:
                found = details.variant or details.value
                names = ", ".join(flag.variants)
                return _nothing(f"gave {found!r}, which is no variant of {flag.key} ({names})")
            reason = str(details.reason or "")
        except BaseException as error:  # noqa: BLE001  # foreign code, hooks and values included: the store's answer serves
            return _nothing(f"{type(error).__name__}: {error}")
        how = HOWS.get(reason, How.PLAIN)
        if randomized and how is How.TARGETED:
            how = How.COIN
        return Given(variant, REASONS.get(reason, Reason.DEFAULT), how)

    def _details(self, key: str, context: EvaluationContext) -> FlagEvaluationDetails[object]:
        """As a text, else as an object: which of them it was is remembered."""
        as_object = key in self._objects
        found = self._asked(key, context, as_object=as_object)
        if found.error_code is None or found.error_code.value != "TYPE_MISMATCH":
            return found
        other = self._asked(key, context, as_object=not as_object)
        if other.error_code is None:
            self._objects = self._objects - {key} if as_object else self._objects | {key}
        return other

    def _asked(
        self, key: str, context: EvaluationContext, *, as_object: bool
    ) -> FlagEvaluationDetails[object]:
        if as_object:
            return self._client.get_object_details(key, {}, context)
        return self._client.get_string_details(key, NO_ANSWER, context)

    def close(self) -> None:
        """Let it be shut down, in a thread of the SDK. Idempotent."""
        from openfeature import api  # noqa: PLC0415  # as above
        from openfeature.provider.no_op_provider import NoOpProvider  # noqa: PLC0415

        api.set_provider(NoOpProvider(), self._domain)


def named_by(flag: Flag, value: object, variant: object) -> str | None:
    """Which of the flag's variants an answer names: by its value, else by the name of its own variant; None: none."""
    for name in (value, variant):
        # A text of a class of their own becomes a plain one.
        if isinstance(name, str) and (plain := str.__str__(name)) in flag.variants:
            return plain
    return None


def _nothing(message: str) -> Given:
    return Given(None, message=message[:MESSAGE_CHARS])
