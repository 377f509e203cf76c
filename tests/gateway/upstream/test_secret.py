"""A reference becomes its secret, or an error that names the reference and not the secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import UpstreamUnavailable
from gateway.upstream.secret import MAX_SECRET_BYTES, resolve, told


def test_a_secret_comes_from_the_environment() -> None:
    assert resolve("os.environ/KEY", {"KEY": " sk-1\n"}) == "sk-1"


def test_a_secret_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-2\n")

    assert resolve(f"file:{tmp_path}/key", {}) == "sk-2"


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": "  "}])
def test_a_variable_that_is_not_there_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(UpstreamUnavailable, match=r"os\.environ/KEY is not set"):
        resolve("os.environ/KEY", environ)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match=r"/none cannot be read: No such file"):
        resolve(f"file:{tmp_path}/none", {})


@pytest.mark.parametrize("value", ["geheim\r\nx: y", "geheimé", "geheim\0"])
def test_a_secret_that_no_header_can_hold_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(UpstreamUnavailable) as caught:
        resolve("os.environ/KEY", {"KEY": value})
    assert "geheim" not in str(caught.value)


def test_a_plain_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(UpstreamUnavailable) as caught:
        resolve("sk-geheim", {})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(("size", "fits"), [(MAX_SECRET_BYTES, True), (MAX_SECRET_BYTES + 1, False)])
def test_a_file_of_64_kib_is_the_longest(tmp_path: Path, size: int, *, fits: bool) -> None:
    (tmp_path / "key").write_text("k" * size)

    if fits:
        assert len(resolve(f"file:{tmp_path}/key", {})) == size
    else:
        with pytest.raises(UpstreamUnavailable, match="longer than"):
            resolve(f"file:{tmp_path}/key", {})


def test_a_value_that_is_no_reference_stays_and_one_that_is_gives_its_secret() -> None:
    assert told("eu-central-1", {}) == "eu-central-1"
    assert told("os.environ/KEY", {"KEY": "sk-1"}) == "sk-1"
    with pytest.raises(UpstreamUnavailable, match=r"os\.environ/KEY is not set"):
        told("os.environ/KEY", {})
