"""Origins in `ofrep.cors`: spelled as browsers send them, or refused with how they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.checks_origins import origin_problems
from gateway.config.declaration import ConfigInvalid, Known
from gateway.config.loading import load_file


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://a.example",
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "http://[::1]:3000",
        "https://xn--mller-kva.example",
        "chrome-extension://abcdefgh",
    ],
)
def test_what_browsers_send_is_taken(origin: str) -> None:
    assert not [*origin_problems([origin], "cors")]


@pytest.mark.parametrize(
    ("origin", "mend"),
    [
        ("http://a.example:80", "write http://a.example"),
        ("https://a.example:443", "write https://a.example"),
        ("https://a.example/", "write https://a.example"),
        ("https://a.example/app?x=1", "write https://a.example"),
        ("https://A.Example", "write https://a.example"),
        ("HTTPS://a.example", "write https://a.example"),
        ("https://müller.example", "write https://xn--mller-kva.example"),
        ("http://[0:0:0:0:0:0:0:1]:3000", "write http://[::1]:3000"),
        ("http://a.example:08080", "write http://a.example:8080"),
        ("https://*.a.example", "name each origin"),
        ("null", "name its origin"),
        ("a.example", "https://app.example"),
        ("//a.example", "https://app.example"),
        ("https://", "https://app.example"),
        ("file:///index.html", "https://app.example"),
        ("http://127.1", "https://app.example"),
        ("http://a.example:99999", "https://app.example"),
        ("https://a.example,https://b.example", "https://app.example"),
        ("https://" + "ü" * 300, "https://app.example"),
        ("", "https://app.example"),
    ],
)
def test_what_no_browser_sends_is_refused_with_what_it_would(origin: str, mend: str) -> None:
    (found,) = origin_problems(["*", origin], "ofrep.cors")

    assert found.path == "ofrep.cors[1]"
    assert mend in found.mend


def test_a_config_file_says_where(tmp_path: Path) -> None:
    file = tmp_path / "pointsman.yaml"
    file.write_text('ofrep:\n  cors:\n    - "https://shop.example"\n    - "https://shop.example/"\n')

    with pytest.raises(ConfigInvalid) as refused:
        load_file(file, Known())

    (problem,) = refused.value.problems
    assert (problem.line, problem.path, problem.mend) == (4, "ofrep.cors[1]", "write https://shop.example")
