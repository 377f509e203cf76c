"""flagd's own Python evaluator, asked as we ask ours: the judge of the evaluation tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.contrib.tools.flagd.core.targeting import targeting
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from flags.model import Context, ErrorCode, Reason, Resolution

NOW = 1_800_000_000
CLOCK = "openfeature.contrib.tools.flagd.core.targeting.targeting.time.time"

# The oracle logs every bad input with a traceback; a property test makes thousands of them.
logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL + 1)


def ruled(flag: str, rule: Any, context: Context) -> Any:
    """What flagd's targeting gives for `rule`; raises what it raises."""
    with patch(CLOCK, return_value=NOW):
        return targeting(flag, rule, evaluation_context(context))


def evaluation_context(context: Context) -> EvaluationContext:
    return EvaluationContext(context.targeting_key, dict(context.attributes))


class Oracle:
    """A flagd document, loaded."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.core = FlagdCore()
        self.core.set_flags(json.dumps(document))
        self.kinds = {key: _kind(flag["variants"]) for key, flag in document["flags"].items()}

    def resolve(self, flag: str, context: Context, kind: str | None = None) -> Resolution:
        """flagd's answer in our words; an exception that flagd does not mean is its daemon's PARSE_ERROR."""
        ask = getattr(self.core, f"resolve_{kind or self.kinds[flag]}_value")
        try:
            with patch(CLOCK, return_value=NOW):
                details = ask(flag, None, evaluation_context(context))
        except OpenFeatureError as error:
            code = ErrorCode(error.error_code.value)
            return Resolution(flag, None, None, Reason.ERROR, error=code)
        except Exception:
            return Resolution(flag, None, None, Reason.ERROR, error=ErrorCode.PARSE_ERROR)
        return Resolution(flag, details.variant, details.value, Reason(str(details.reason.value)))


def _kind(variants: Mapping[str, Any]) -> str:
    value = next(iter(variants.values()))
    return {bool: "boolean", str: "string", int: "integer", float: "float"}.get(type(value), "object")
