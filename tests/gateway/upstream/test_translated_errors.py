"""What a provider's error means that came through litellm: bounded work, and no status that HTTP does not know."""

from __future__ import annotations

import pytest

from gateway.errors import UpstreamGarbled
from gateway.upstream.translated_errors import QUOTED_CHARACTERS, clean, forget, meaning_of, read_error


class Response:
    def __init__(self, status: int) -> None:
        self.status_code, self.headers = status, {"retry-after": "1"}


class HTTPStatusError(Exception):
    """Named as httpx names its own: names are what is matched."""

    def __init__(self, status: int) -> None:
        super().__init__("scripted")
        self.response = Response(status)


@pytest.mark.parametrize("status", [0, 200, 302, 399, 600, 999])
def test_a_status_that_is_no_errors_is_no_answer(status: int) -> None:
    assert isinstance(meaning_of(HTTPStatusError(status)), UpstreamGarbled)


@pytest.mark.parametrize(
    "text", [" " * 1_000_000, " " * 999_999 + "x", "Error" * 200_000, "http://" + "x" * 1_000_000]
)
def test_an_error_of_megabytes_is_cut_before_patterns_look_at_it(text: str) -> None:
    assert len(clean(text)) <= QUOTED_CHARACTERS


@pytest.mark.parametrize(
    "secret",
    ["sk-abcdefghijklmnop", "AIzaSyA1234567890abcdef", "Bearer abcdefgh12345", "AKIAABCDEFGHIJKLMNOP"],
)
def test_what_looks_like_a_key_is_not_told(secret: str) -> None:
    told = clean(f"401: wrong key {secret} given")

    assert secret.removeprefix("Bearer ") not in told


def test_an_error_nested_too_deeply_is_none() -> None:
    assert read_error('{"error":' + "[" * 100_000 + "]" * 100_000 + "}") == {}


def test_what_was_read_of_an_exception_lets_go_of_its_frames() -> None:
    try:
        try:
            raise ValueError("inner")
        except ValueError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as outer:
        kept = outer
    forget(kept)

    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)


def test_an_event_that_the_translation_stumbles_over_is_the_upstreams_fault_and_not_the_apps() -> None:
    def chunk_parser(event: object) -> object:
        return event.get("choices")  # type: ignore[attr-defined]  # that is the stumble

    try:
        chunk_parser(None)
    except AttributeError as error:
        told = meaning_of(error)

    assert isinstance(told, UpstreamGarbled)
