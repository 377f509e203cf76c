"""What one search of an embedded index costs, of 5,000 and of 50,000 passages; printed, never asserted.

Run: python -m tests.bench.bench_index [--quick]. The aim: under 10 ms for 5,000 passages. Vectors are drawn, not made by a model
(whose time is measured apart, where it is installed), since only their number counts.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.index.building import build
from gateway.index.embedded import EmbeddedIndex, Mode, Search
from gateway.index.embedder import MiniLM
from gateway.index.errors import Uninstalled
from gateway.index.filters import parse_filter
from tests.bench.options import is_quick

SIZES = (5_000, 50_000)
QUICK_SIZES = SIZES[:1]
ROUNDS = 200
LINES_A_FILE = 10_000
# As in English: few words make up most of a text.
VOCABULARY, WORDS_A_PASSAGE, WORDS_A_QUESTION = 20_000, 150, 10
DIMENSIONS = 384
FILTER = {"type": "and", "filters": [
    {"type": "in", "key": "team", "value": ["team-1", "team-2", "team-3"]},
    {"type": "gte", "key": "year", "value": 2020},
]}  # fmt: skip


class Drawn:
    """Vectors as long as the real model's, at no cost."""

    name, dimensions = "drawn", DIMENSIONS

    def embed(self, texts: Sequence[str]) -> Any:
        import numpy as np  # noqa: PLC0415

        vectors = np.random.default_rng(len(texts)).normal(size=(len(texts), DIMENSIONS)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Talk:
    """Words by Zipf's law, always the same."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._words = [f"w{number}" for number in range(VOCABULARY)]
        self._weights = [1 / (rank + 3) for rank in range(VOCABULARY)]

    def words(self, count: int) -> str:
        return " ".join(self._random.choices(self._words, self._weights, k=count))


def written(folder: Path, passages: int, talk: Talk) -> Path:
    """JSONL files with as many texts."""
    folder.mkdir()
    for first in range(0, passages, LINES_A_FILE):
        lines = []
        for number in range(first, min(first + LINES_A_FILE, passages)):
            attributes = {"team": f"team-{number % 10}", "year": 2010 + number % 15}
            lines.append(json.dumps({"text": talk.words(WORDS_A_PASSAGE), "attributes": attributes}))
        (folder / f"texts-{first}.jsonl").write_text("\n".join(lines))
    return folder


def spread(name: str, work: Callable[[], object]) -> None:
    """Print the median, the 99th percentile and the worst of ROUNDS runs."""
    work()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    print(f"{name:<52} {statistics.median(taken):8.2f} {taken[int(ROUNDS * 0.99)]:8.2f} {taken[-1]:8.2f} ms")


def searches(index: EmbeddedIndex, questions: Sequence[str], modes: Sequence[Mode]) -> None:
    filters = parse_filter(FILTER)
    for mode in modes:
        asked = [Search(question, 10, mode) for question in questions]
        for name, filtered in (("", False), (", filtered", True)):
            ready = iter([replace(each, filters=filters) if filtered else each for each in asked])
            title = f"{mode}, {index.manifest.passages:,} passages{name}"
            spread(title, lambda ready=ready: index.search(next(ready)))  # type: ignore[misc]
    long = Search(" ".join(questions), 10, Mode.TEXT)
    spread(
        f"text, {index.manifest.passages:,} passages, {len(long.query):,} characters",
        lambda: index.search(long),
    )


def measured(folder: Path, passages: int, talk: Talk, modes: Sequence[Mode]) -> None:
    embedder = Drawn() if Mode.VECTOR in modes else None
    texts = written(folder / f"texts-{passages}", passages, talk)
    began = time.perf_counter()
    out = folder / f"index-{passages}.sqlite"
    build(texts, out, now=datetime.now(UTC), embedder=embedder)
    print(
        f"\nbuilt {passages:,} passages in {time.perf_counter() - began:.1f} s, {out.stat().st_size / 2**20:.0f} MiB"
    )
    index = EmbeddedIndex.open(out, embedder=Drawn)
    searches(index, [talk.words(WORDS_A_QUESTION) for _ in range(ROUNDS + 1)], modes)
    index.retire()


def has_numpy() -> bool:
    try:
        import numpy  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def main() -> None:
    talk = Talk()
    modes = tuple(Mode) if has_numpy() else (Mode.TEXT,)
    print(f"{'one search':<52} {'median':>8} {'p99':>8} {'worst':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for passages in QUICK_SIZES if is_quick(sys.argv) else SIZES:
            measured(Path(folder), passages, talk, modes)
    try:
        model = MiniLM.load()
    except Uninstalled as missing:
        print(f"\nno embeddings measured: {missing.message}")
        return
    print()
    spread(
        "a question's own vector (9 words)", lambda: model.embed(["How long may I wait before I return it?"])
    )


if __name__ == "__main__":
    main()
