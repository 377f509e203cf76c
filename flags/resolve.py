"""One flag, one context, one answer: disabled → pin → targeting → rollout → serve; then *withdrawn → safe*.

Pure: no clock, no I/O, no log. The last step is built into every prepared answer, see `compiled.answer`.
"""

from __future__ import annotations

from flags.bucket import encoded_text, hashed
from flags.compiled import WHOLE, Coin, CompiledFlag, failed, served
from flags.model import Context, ErrorCode, Json, Reason, Resolution
from flags.targeting import RULE_FAILURES, data_for


def resolve(
    flag: CompiledFlag, context: Context, now: int, pin: str | None = None, *, past_withdrawn: bool = False
) -> Resolution:
    """The answer of `flag` for `context`; an error is an answer too.

    `now` is in Unix seconds, for `$flagd.timestamp`. `pin` names the variant to serve instead of what the
    rules say; `past_withdrawn` serves it even where withdrawn (an evaluation must see the version it
    evaluates).
    """
    if pin is not None and flag.flag.enabled:
        return _pinned(flag, pin, past_withdrawn=past_withdrawn)
    if flag.always is not None:
        return flag.always
    if flag.rule is not None:
        targeted = _targeted(flag, context, now)
        if targeted is not None:
            return targeted
    if flag.coin is not None and context.targeting_key:
        return _tossed(flag.coin, context.targeting_key) or flag.fallback
    return flag.fallback


def _pinned(flag: CompiledFlag, pin: str, *, past_withdrawn: bool) -> Resolution:
    # TARGETING_MATCH and not STATIC, which would allow an OpenFeature client to keep the answer for others.
    withdrawn = pin in flag.flag.withdrawn and not past_withdrawn
    variant = flag.flag.safe if withdrawn else pin
    return served(flag.flag, flag.values, variant, Reason.TARGETING_MATCH, wanted=pin, pinned=True)


def _targeted(flag: CompiledFlag, context: Context, now: int) -> Resolution | None:
    assert flag.rule is not None
    try:
        chosen = flag.rule(data_for(flag.flag.key, context, now))
        if chosen is None:
            return None
        if type(chosen) is not str:
            chosen = str(chosen).lower() if isinstance(chosen, bool) else str(chosen)
    # Of flagd's Python core an unforeseen exception would come out as it is; flagd itself says PARSE_ERROR.
    except RULE_FAILURES as error:
        return failed(flag.flag.key, ErrorCode.PARSE_ERROR, f"the targeting rule failed: {error}")
    match = flag.matches.get(chosen)
    if match is not None:
        return match
    names = ", ".join(flag.flag.variants)
    return failed(
        flag.flag.key, ErrorCode.GENERAL, f"targeting gave {chosen[:128]!r}, which is no variant ({names})"
    )


def _tossed(coin: Coin, targeting_key: str) -> Resolution | None:
    bucket = bucket_of(coin, targeting_key)
    if bucket is None:
        return None
    return coin.serve if bucket < coin.serve_until else coin.candidate


def bucket_of(coin: Coin, targeting_key: str) -> int | None:
    """Which of the 10,000 parts the key falls into; the last ones are the candidate's.

    flagd's `fractional` over FLAG/CANDIDATE/KEY. None for a key that is no Unicode text.
    """
    try:
        hash_value = hashed(encoded_text(coin.prefix + targeting_key))
    except UnicodeEncodeError:
        return None
    # Integers only: a percentage as a float would round differently in another language.
    return (hash_value * WHOLE) >> 32


def not_found(key: str) -> Resolution:
    """The answer for a flag that does not exist."""
    return failed(key, ErrorCode.FLAG_NOT_FOUND, f"flag {key!r} does not exist")


def typed(resolution: Resolution, expected: type[bool | str | int | float | object]) -> Resolution:
    """`resolution` where its value is of the `expected` type, else TYPE_MISMATCH.

    `object` stands for JSON's containers. As with flagd's Python core under OpenFeature's client, a boolean is no
    number, an integer may serve as a float (its value is made one), and a fraction, 1.0 too, is no integer. (The core
    itself lets a boolean pass for a float; the client then refuses it.) An answer without a variant leaves the value to
    the caller and fits every type.
    """
    if resolution.variant is None:
        return resolution
    value = resolution.value
    if expected is float and type(value) is int:
        return _with_value(resolution, float(value))
    if _fits(value, expected):
        return resolution
    wanted = "object" if expected is object else expected.__name__
    message = f"expected {wanted}, variant {resolution.variant!r} is {type(value).__name__}"
    return failed(resolution.flag, ErrorCode.TYPE_MISMATCH, message)


def _fits(value: Json, expected: type[object]) -> bool:
    if expected is object:
        return isinstance(value, (dict, list))
    return type(value) is expected


def _with_value(resolution: Resolution, value: Json) -> Resolution:
    return Resolution(
        resolution.flag,
        resolution.variant,
        value,
        resolution.reason,
        resolution.generation,
        resolution.wanted,
        resolution.pinned,
    )
