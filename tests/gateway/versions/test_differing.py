"""Differences that a person can read, and that hide nothing from them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flags.model import Layer
from gateway.versions.differing import MAX_LINES, diff_text, differences
from gateway.versions.visible import visible


def prompt_of(*messages: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages], **more}


def paths(before: Any, after: Any, layer: Layer | None = Layer.PROMPT) -> list[str]:
    return [part.path for part in differences(layer, before, after)]


def test_a_prompt_is_compared_line_by_line() -> None:
    before = prompt_of(("system", "You are kind.\nAnswer briefly.\nBe exact."))
    after = prompt_of(("system", "You are kind.\nAnswer at length.\nBe exact."))

    parts = differences(Layer.PROMPT, before, after)

    assert diff_text(parts, "v6", "v7") == (
        "--- v6 messages[0]\n+++ v7 messages[0]\n@@ -1,4 +1,4 @@\n [system]\n You are kind.\n"
        "-Answer briefly.\n+Answer at length.\n Be exact."
    )


def test_a_message_that_came_in_front_moves_no_other() -> None:
    old = [("system", "one"), ("user", "two")]

    assert paths(prompt_of(*old), prompt_of(("system", "new"), *old)) == ["messages[0] (only here)"]
    assert paths(prompt_of(("system", "new"), *old), prompt_of(*old)) == ["messages[0] (only here)"]


def test_a_changed_role_and_other_fields_are_differences() -> None:
    before = prompt_of(("system", "one"), variables={"company": "Acme"})
    after = prompt_of(("user", "one"), variables={"company": "Ajax"}, tools=[])

    assert paths(before, after) == ["messages[0]", "tools", "variables"]


def test_other_layers_are_compared_as_json_with_names_in_order() -> None:
    (part,) = differences(Layer.MODEL, {"model": "a", "upstream": "mock"}, {"upstream": "mock", "model": "b"})

    assert [line for line in part.lines if line[0] in "+-"] == ['-  "model": "a",', '+  "model": "b",']


def test_nothing_differs_from_itself() -> None:
    assert differences(Layer.PROMPT, prompt_of(("system", "x")), prompt_of(("system", "x"))) == []
    assert differences(None, True, True) == []


def test_a_line_feed_at_the_end_and_a_carriage_return_are_seen() -> None:
    assert differences(None, "a", "a\n")[0].lines[-1] == "+"
    assert "+a\\r" in differences(None, "a\nb", "a\r\nb")[0].lines


def test_what_no_eye_sees_is_spelt_out() -> None:
    (part,) = differences(None, "safe", "safe\x1b[2K\u202eevil\u200b")

    assert part.lines[-1] == "+safe\\x1b[2K\\u202eevil\\u200b"
    assert visible("plain – ü 漢字 🚂\t.") == "plain – ü 漢字 🚂\t."
    assert visible("two\nlines") == "two\\nlines"


def test_long_texts_that_differ_throughout_are_shown_as_replaced() -> None:
    before = "\n".join(["head", *(f"a{n}" for n in range(MAX_LINES)), "tail"])
    after = "\n".join(["head", *(f"b{n}" for n in range(MAX_LINES)), "tail"])

    (part,) = differences(None, before, after)

    assert part.lines[0] == f"@@ -2,{MAX_LINES} +2,{MAX_LINES} @@"
    assert (part.lines[1], part.lines[-1]) == ("-a0", f"+b{MAX_LINES - 1}")


@given(
    st.lists(st.text(alphabet="ab\n", max_size=6), max_size=4),
    st.lists(st.text(alphabet="ab\n", max_size=6), max_size=4),
)
def test_contents_differ_exactly_where_a_difference_is_shown(old: list[str], new: list[str]) -> None:
    before, after = prompt_of(*(("user", each) for each in old)), prompt_of(*(("user", each) for each in new))

    assert bool(differences(Layer.PROMPT, before, after)) == (before != after)
