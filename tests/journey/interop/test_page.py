"""Which sites' pages may read flags, in a real browser: those that the config names, and nobody's else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet
from tests.journey.interop import scene, tools
from tests.journey.interop.remote import Failed, Remote
from tests.journey.interop.scene import ANN_KEY
from tests.journey.traffic import until

LACK = tools.missing("npm", "chromium")
pytestmark = [pytest.mark.full, pytest.mark.timeout(300), pytest.mark.skipif(bool(LACK), reason=LACK)]
ANN = {"targetingKey": "ann"}


@pytest.fixture(params=[tools.FOREIGN_HOST, "localhost"])
def host(request: pytest.FixtureRequest) -> str:
    """Whose page it is: somebody else's, or one of another program on this machine."""
    return str(request.param)


@pytest.fixture
def page(host: str, web_packages: Path, tmp_path: Path) -> Iterator[Remote]:
    """A page in a browser, without a provider yet."""
    with Remote(tools.in_browser(tmp_path / "profile", host), web_packages, tmp_path / "page.log") as running:
        yield running


def started(page: Remote, fleet: Fleet, **options: Any) -> str:
    """Nothing where the page gets its flags, else what its provider says."""
    try:
        page.start("web", fleet.url, context=ANN, cacheMode="disabled", **options)
    except Failed as failure:
        return str(failure)
    return ""


@pytest.mark.parametrize("keys", [False, True])
def test_a_page_of_a_site_that_is_not_named_gets_nothing(page: Remote, tmp_path: Path, keys: bool) -> None:
    """Not even with a key, and not where another site is named: its browser does not let it read."""
    with scene.fleet(tmp_path / "f", keys=keys, ofrep={"cors": ["https://shop.example"]}) as fleet:
        failure = started(page, fleet, key=ANN_KEY if keys else None)

        assert "OFREP request failed" in failure
        assert page.changes() == []


def test_without_config_no_page_gets_anything(page: Remote, tmp_path: Path) -> None:
    with scene.fleet(tmp_path / "f") as fleet:
        assert "OFREP request failed" in started(page, fleet)


def test_a_site_that_is_named_while_it_runs_gets_flags_and_hears_of_changes(
    page: Remote, host: str, tmp_path: Path
) -> None:
    """The workers read the config again on SIGHUP; the key comes after a preflight, the stream needs none."""
    with scene.fleet(tmp_path / "f", keys=True) as fleet:
        before = started(page, fleet, key=ANN_KEY)
        origins = [f"http://{host}:{page.port}"]

        fleet.config.write_text(scene.config(keys={"file": "keys.yaml"}, ofrep={"cors": origins}))
        os.kill(fleet.pid, signal.SIGHUP)
        until(lambda: not started(page, fleet, key=ANN_KEY), "the page may ask")
        fleet.json("rollback", "new-greeting", "--reason", "nobody smiles", "--token", scene.BOSS_TOKEN)
        page.changed("new-greeting")

        assert "OFREP request failed" in before
        assert page.ask("boolean", "new-greeting", True)["value"] is False


def test_a_page_reads_what_its_provider_needs_of_an_answers_head(page: Remote, tmp_path: Path) -> None:
    """Its ETag, so that the next answer may be a 304."""
    with scene.fleet(tmp_path / "f", ofrep={"cors": ["*"]}) as fleet:
        assert started(page, fleet) == ""

        page.do("context", context=ANN)

        first, second = (made for made in page.requests() if not made["query"])
        assert first["etag"]
        assert (second["status"], second["match"]) == (304, first["etag"])
