"""The one field of a form that is ours, found and replaced; all other bytes stay."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.wires.multipart import boundary_of, find_field, with_field


def form(*fields: tuple[str, bytes], boundary: str = "b0") -> bytes:
    """A form as browsers and SDKs write it."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), v)
        for name, v in fields
    ]
    return b"".join(parts) + b"--%b--\r\n" % boundary.encode()


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        (b"multipart/form-data; boundary=b0", b"b0"),
        (b'multipart/form-data; boundary="a b"', b"a b"),
        (b"multipart/form-data;BOUNDARY=--x--; charset=utf-8", b"--x--"),
    ],
)
def test_the_boundary_stands_in_the_content_type(header: bytes, boundary: bytes) -> None:
    assert boundary_of(header) == boundary


def test_a_form_without_a_boundary_is_the_clients_mistake() -> None:
    with pytest.raises(BadRequest, match="without a boundary"):
        boundary_of(b"multipart/form-data")


@given(value=st.binary(max_size=200), name=st.sampled_from(["whisper-1", "ä", "x" * 300]))
def test_only_the_models_name_changes(value: bytes, name: str) -> None:
    boundary = "boundary-that-no-value-holds"
    before = form(("file", value), ("model", b"talk"), ("language", b"en"), boundary=boundary)

    after = with_field(before, boundary.encode(), "model", name)

    assert after == form(("file", value), ("model", name.encode()), ("language", b"en"), boundary=boundary)


def test_a_form_without_a_model_gets_one() -> None:
    after = with_field(form(("file", b"1")), b"b0", "model", "dall-e-2")

    field = find_field(after, b"b0", "model")
    assert field is not None
    assert field.value == "dall-e-2"
    assert find_field(after, b"b0", "file") is not None


def test_a_file_that_looks_like_a_field_is_none() -> None:
    """What stands inside a part's value is not its head."""
    body = form(("file", b'Content-Disposition: form-data; name="model"\r\n\r\nforged'), ("model", b"talk"))

    field = find_field(body, b"b0", "model")

    assert field is not None
    assert field.value == "talk"


@pytest.mark.parametrize(
    "body",
    [
        b"no form",
        b"--b0\r\n",
        b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nx',
        form(("model", b"x" * 2000)),
        form(("model", b"\xff")),
        form(*[("a", b"")] * 1001),
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        find_field(body, b"b0", "model")


@given(st.binary(max_size=300))
def test_no_bytes_are_too_odd(body: bytes) -> None:
    """Whatever comes ends in a field, in none, or in a refusal."""
    with suppress(BadRequest):
        find_field(body, b"b0", "model")
