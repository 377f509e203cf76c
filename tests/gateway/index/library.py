"""Small collections of texts for the tests, and an embedder that needs no model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gateway.index.building import Built, build
from gateway.index.embedded import EmbeddedIndex

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TEXTS = {
    "returns.md": "# Returns\n\nSend it back within 30 days. Refunds go to your card.\n",
    "shipping.md": "# Shipping\n\nWe ship to Norway and Sweden, in three days.\n",
    "guide/gift-cards.txt": "Gift cards never expire. A refund of a gift card is a gift card.\n",
}


class Hashing:
    """A vector from each word's hash: alike texts get alike vectors."""

    name, dimensions = "hashing", 32

    def embed(self, texts: Sequence[str]) -> Any:
        import numpy as np  # noqa: PLC0415  # only where the extra is installed

        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[0] = 1e-3
            for word in text.lower().split():
                row[hashlib.sha256(word.strip(".,?").encode()).digest()[0] % self.dimensions] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def written(folder: Path, texts: Mapping[str, str | bytes] = TEXTS) -> Path:
    """The texts as files below `folder`."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def rows(*lines: Mapping[str, object]) -> dict[str, str | bytes]:
    """One JSONL file of these lines."""
    return {"rows.jsonl": b"\n".join(msgspec.json.encode(line) for line in lines)}


def a_build(
    folder: Path, texts: Mapping[str, str | bytes] = TEXTS, *, name: str = "kb", embedder: Any = None
) -> tuple[Path, Built]:
    """An index in `folder` of these texts."""
    texts_in = written(folder / f"{name}-texts", texts)
    out = folder / "indexes" / f"{name}.sqlite"
    return out, build(texts_in, out, now=NOW, embedder=embedder)


def an_index(
    folder: Path, texts: Mapping[str, str | bytes] = TEXTS, *, name: str = "kb", embedder: Any = None
) -> EmbeddedIndex:
    """The same, opened; whoever asks retires it."""
    out, _ = a_build(folder, texts, name=name, embedder=embedder)
    return EmbeddedIndex.open(out, embedder=lambda: embedder)
