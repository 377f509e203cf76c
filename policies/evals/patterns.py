"""Regular expressions that cannot hang the process, whatever a suite asks for. Knows no assertion and no answer.

Backtracking is bounded by time, in the engine: `regex` looks at its clock while it matches, which Python's own `re` does
not. Refusing nested quantifiers instead would refuse honest patterns and still miss others, and linear engines (RE2) lack
look-around and back-references, which promptfoo's patterns (JavaScript's) may have. Counted repeats are unfolded when a
pattern is compiled, so their product is bounded before.
"""

from __future__ import annotations

import regex

from policies.evals.verdict import NotEvaluated

# Longer patterns are generated ones.
PATTERN_CHARS_MAX = 2_000
# What counted repeats may unfold to: some ten milliseconds of compiling.
UNFOLDED_MAX = 50_000
# A match takes microseconds; whoever needs a second backtracks.
SECONDS_MAX = 1.0


def search(pattern: str, text: str, *, seconds: float = SECONDS_MAX) -> bool:
    r"""Whether `pattern` is found in `text`, for `\d`, `\w` and `\b` ASCII as in JavaScript. Blocks up to `seconds`.

    Raises NotEvaluated for what is no pattern, is too large, or takes too long.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        raise NotEvaluated(f"the pattern has {len(pattern)} characters; {PATTERN_CHARS_MAX} are the most")
    strange = _STRANGE.search(pattern, concurrent=True)
    if strange:
        raise NotEvaluated(f"the pattern has {strange[0]!r}, which JavaScript's patterns have not")
    if unfolded(pattern) > UNFOLDED_MAX:
        raise NotEvaluated(f"the pattern's counted repeats unfold to more than {UNFOLDED_MAX} steps")
    try:
        compiled = regex.compile(_NAMED.sub(r"\1\\g<", pattern), regex.ASCII | regex.V0)
        return compiled.search(text, timeout=seconds, concurrent=True) is not None
    except regex.error as error:
        raise NotEvaluated(f"the pattern is no regular expression: {error}") from None
    except TimeoutError:
        raise NotEvaluated(
            f"the pattern backtracks for more than {seconds:g} s", mend="do not repeat what repeats"
        ) from None
    except (RecursionError, MemoryError, OverflowError, ValueError):
        raise NotEvaluated("the pattern is too deeply nested or too large") from None


def unfolded(pattern: str) -> int:
    """How many steps a pattern has when its counted repeats are written out; a rough count that is never too low."""
    # One sum for each open group, and the cost of the last item in each, which a repeat multiplies.
    sums, last, at = [0], [0], 0
    while at < len(pattern):
        at, cost, closed = _item(pattern, at, sums, last)
        if cost is not None:
            sums[-1] += cost - (last[-1] if closed else 0)
            last[-1] = cost
    return max(sum(sums), 1)


def _item(pattern: str, at: int, sums: list[int], last: list[int]) -> tuple[int, int | None, bool]:
    """Where the next item begins, what this one costs, and whether that takes the place of the last one's cost."""
    match pattern[at]:
        case "\\":
            return at + 2, 1, False
        case "[":
            return _class_end(pattern, at), 1, False
        case "(":
            sums.append(0)
            last.append(0)
            return at + 1, None, False
        case ")" if len(sums) > 1:
            last.pop()
            return at + 1, sums.pop() + 1, False
        case "{":
            found = _REPEAT.match(pattern, at)
            if found:
                times = max(int(each[:6]) for each in found.groups() if each)
                return found.end(), max(last[-1], 1) * max(times, 1), True
    return at + 1, 1, False


def _class_end(pattern: str, at: int) -> int:
    """Behind the `]` that ends the class beginning at `at`; a `]` that comes first belongs to it."""
    found = _CLASS.match(pattern, at)
    return found.end() if found else at + 1


# Comments, verbose mode, recursion and POSIX classes: they would also make the count above wrong.
_STRANGE = regex.compile(
    r"\(\?(?![:=!<>]|P[<=]|[ims]*(?:-[ims]+)?[:)])..?|\[\^?\]?(?:\\.|(?!\[[:.=])[^\]\\])*+\[[:.=]"
)
# A reference to a named group, which is `\g<name>` here.
_NAMED = regex.compile(r"((?<!\\)(?:\\\\)*)\\k<")
_REPEAT = regex.compile(r"\{(?:(\d+)(?:,(\d*))?|,(\d+))\}")
_CLASS = regex.compile(r"\[\^?\]?(?:\\.|[^\]\\])*+\]", regex.DOTALL)
