"""Packages of other registries, installed once for all of these journeys; a skip says which are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journey.interop import tools


@pytest.fixture(scope="session")
def web_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the web provider and what it needs."""
    return tools.installed(tmp_path_factory.mktemp("web"), tools.WEB_PACKAGES)


@pytest.fixture(scope="session")
def server_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the server's provider and what it needs."""
    return tools.installed(tmp_path_factory.mktemp("server"), tools.SERVER_PACKAGES)
