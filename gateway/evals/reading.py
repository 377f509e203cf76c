"""A suite's file, and the files that it names, become one document: what policies.evals makes a Suite of, and hashes.

Format: promptfoo's configuration. References (`file://…`) are read where promptfoo reads them; what would have to be run
(JavaScript, Python, a command) is never run, and stays in the document by its name, so that its case is not evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flags.canonical import canonical
from flags.errors import Invalid
from flags.model import Json
from gateway.config.files import Source
from gateway.config.places import line_of
from gateway.evals import sheets
from gateway.evals.folder import Folder, Placed, at_line, is_data
from policies.evals.case import shown
from policies.evals.suite import CASES_MAX, suite_from

CODE = frozenset({".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".py", ".rb", ".sh", ".go"})
# promptfoo sends them as base64; a case with one is not evaluated.
BINARY = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf", ".mp3", ".wav", ".mp4", ".xlsx", ".xls"}
)
_FILE = "file://"
_PROMPT_SUFFIXES = frozenset({".txt", ".md", ".j2", ".json", ".yaml", ".yml"})
# What separates the prompts of a text file.
_NEXT_PROMPT = "\n---\n"


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a test stands: a file, and its path or line there."""

    name: str
    source: Source | None = None
    path: str = ""


def read_suite(path: Path) -> Json:
    """The resolved document of the suite at `path` (YAML, JSON, JSONL or CSV): nothing in it leads to a file any more.

    Raises Invalid whose path is `FILE:LINE: PATH`, for a file that is missing, malformed or empty, for references out of
    the suite's folder, and for a document that policies.evals does not take. Reads 16 MiB of a file, 64 MiB in all.
    """
    return _Reading(path).document()


class _Reading:
    """One reading of a suite. What changes here: where each test was found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = Folder(path.parent)
        self._origins: list[_Origin] = []

    def __repr__(self) -> str:
        return f"<reading {self._path}, {len(self._origins)} tests>"

    def document(self) -> Json:
        """All of it, in the order of the file."""
        inside = self._folder.path / self._path.name
        if not (is_data(inside) or inside.suffix.lower() in (".csv", ".jsonl")):
            raise Placed(inside.name, "a suite is a .yaml, .yml, .json, .jsonl or .csv file")
        whole: dict[str, Json]
        if not is_data(inside):
            main = Source(inside.name, None, None)
            whole = {"tests": list(self._tests_of(inside))}
        else:
            main = self._folder.source(inside)
            whole = self._main(main)
        try:
            canonical(whole)
            suite_from(whole)
        except Invalid as error:
            raise self._placed(error, main) from None
        return whole

    def _main(self, main: Source) -> dict[str, Json]:
        """The suite's own file: a mapping of sections, or a bare list of tests."""
        found = main.value
        sections = found if isinstance(found, Mapping) else {"tests": found}
        if not sections or not (isinstance(found, Mapping) or _is_list(found)):
            raise at_line(main.name, 1, Invalid("", "this is no suite", mend="begin with `tests:`"))
        whole = dict(sections)
        prefix = "tests" if isinstance(found, Mapping) else ""
        try:
            whole["tests"] = list(self._tests(sections.get("tests"), main, prefix))
            whole["defaultTest"] = self._test(self._whole_file(sections.get("defaultTest")), "defaultTest")
            whole["prompts"] = self._prompts(sections.get("prompts"))
        except Invalid as error:
            raise _at(main, error) from None
        return {name: value for name, value in whole.items() if value is not None}

    def _tests(self, found: Json, main: Source, prefix: str) -> Iterator[Json]:
        entries = found if _is_list(found) else [] if found is None else [found]
        for at, entry in enumerate(entries):  # type: ignore[arg-type]  # a list, as `_is_list` found
            path = f"{prefix}[{at}]" if _is_list(found) else prefix
            if isinstance(entry, str):
                yield from self._named_tests(entry, path)
            elif isinstance(entry, Mapping) and isinstance(entry.get("path"), str) and "vars" not in entry:
                yield from self._named_tests(str(entry["path"]), path)
            else:
                yield self._kept(self._test(entry, path), _Origin(main.name, main, path))

    def _named_tests(self, name: str, path: str) -> Iterator[Json]:
        name = name.removeprefix(_FILE)
        if "://" in name or Path(name.partition(":")[0]).suffix.lower() in CODE | BINARY:
            raise Invalid(
                path, f"{shown(name)} is not read here", mend="write the cases out as YAML, JSON or CSV"
            )
        for file in self._files(name, path):
            if file.suffix.lower() in CODE | BINARY:
                raise Invalid(path, f"{shown(file.name)} is not read here: code is never run")
            yield from self._tests_of(file)

    def _tests_of(self, file: Path) -> Iterator[Json]:
        """The tests in one file, each with its variables and values read. Raises Invalid for a file without any."""
        name, before = self._folder.name(file), len(self._origins)
        if file.suffix.lower() == ".csv":
            for row in self._rows(file, name):
                yield self._kept(self._in_line(row, name), _Origin(name))
        elif file.suffix.lower() == ".jsonl":
            for line, text in enumerate(self._folder.text(file).splitlines(), 1):
                if text.strip():
                    place = f"{name}:{line}"
                    yield self._kept(self._in_line(_json(text, place), place), _Origin(place))
        else:
            source = self._folder.source(file)
            tests = source.value if _is_list(source.value) else [source.value]
            for at, test in enumerate(tests):  # type: ignore[arg-type]  # a list, as `_is_list` found
                path = f"[{at}]" if _is_list(source.value) else ""
                try:
                    yield self._kept(self._test(test, path), _Origin(name, source, path))
                except Invalid as error:
                    raise _at(source, error) from None
        if len(self._origins) == before:
            raise Placed(name, "there are no cases in this file", mend="give one test at least")

    def _rows(self, file: Path, name: str) -> Sequence[Json]:
        text = self._folder.text(file)
        try:
            return sheets.tests_in(text)
        except Invalid as error:
            # Its path is `:LINE`.
            raise Placed(f"{name}{error.path}", error.message, mend=error.mend) from None

    def _in_line(self, test: Json, place: str) -> Json:
        """A test that stands in one line, which has no path within."""
        try:
            return self._test(test, "")
        except Invalid as error:
            raise at_line(place, None, error) from None

    def _kept(self, test: Json, origin: _Origin) -> Json:
        self._origins.append(origin)
        if len(self._origins) > CASES_MAX:
            raise Invalid("tests", f"there are more than {CASES_MAX} cases", mend="split the suite")
        return test

    def _test(self, test: Json, path: str) -> Json:
        """A test whose variables and assertions' values are read."""
        if not isinstance(test, Mapping):
            return test
        read = dict(test)
        variables = self._whole_file(test.get("vars"))
        if isinstance(variables, Mapping):
            read["vars"] = {
                name: self._variable(each, f"{path}.vars.{name}") for name, each in variables.items()
            }
        elif variables is not None:
            read["vars"] = variables
        if _is_list(test.get("assert")):
            read["assert"] = self._asserts(test["assert"], f"{path}.assert")
        return read

    def _variable(self, value: Json, path: str) -> Json:
        """A variable: a file's text, JSON and YAML as JSON text (as promptfoo has it); several files are a list."""
        if _is_list(value):
            return [self._variable(each, path) for each in value]  # type: ignore[union-attr]
        if not _is_read(value):
            return value
        files = self._files(str(value).removeprefix(_FILE), path)
        texts: list[Json] = [_as_text(self._content(file)) for file in files]
        return texts if len(texts) > 1 else texts[0]

    def _asserts(self, found: Json, path: str) -> Json:
        return [self._assertion(each, f"{path}[{at}]") for at, each in enumerate(found)]  # type: ignore[arg-type]

    def _assertion(self, found: Json, path: str) -> Json:
        if not isinstance(found, Mapping):
            return found
        read = dict(found)
        for name in ("value", "contextValue"):
            if _is_read(found.get(name)):
                file = self._files(str(found[name]).removeprefix(_FILE), f"{path}.{name}")[0]
                read[name] = self._content(file)
        if _is_list(found.get("assert")):
            read["assert"] = self._asserts(found["assert"], f"{path}.assert")
        return read

    def _prompts(self, found: Json) -> Json:
        """The prompts, those in files read; only the first is ever asked, and the others stay as they are written."""
        prompts = found if _is_list(found) else [] if found is None else [found]
        first: Json = next(iter(prompts), None)  # type: ignore[arg-type]  # a list
        if isinstance(first, Mapping) and isinstance(first.get("id"), str) and "raw" not in first:
            first = first["id"]
        if not isinstance(first, str) or Path(first).suffix.lower() in CODE:
            return found
        named = first.startswith(_FILE) or (
            "\n" not in first and Path(first).suffix in _PROMPT_SUFFIXES and " " not in first
        )
        if not named:
            return found
        content = self._content(self._files(first.removeprefix(_FILE), "prompts[0]")[0])
        read = content.split(_NEXT_PROMPT)[0].strip() if isinstance(content, str) else content
        return [read, *list(prompts)[1:]]  # type: ignore[arg-type]  # a list

    def _whole_file(self, found: Json) -> Json:
        """A section that may stand in a file of its own."""
        if not _is_read(found):
            return found
        return self._content(self._files(str(found).removeprefix(_FILE), "")[0])

    def _content(self, file: Path) -> Json:
        return self._folder.source(file).value if is_data(file) else self._folder.text(file).strip()

    def _files(self, name: str, path: str) -> Sequence[Path]:
        try:
            return self._folder.found(name)
        except Invalid as error:
            raise Invalid(path, error.message, mend=error.mend) from None

    def _placed(self, error: Invalid, main: Source) -> Invalid:
        """An error of the whole document at its file and line: a test's, where that stands."""
        number, _, rest = error.path.removeprefix("tests[").partition("]")
        if not error.path.startswith("tests[") or not number.isdigit():
            return _at(main, error)
        origin = self._origins[int(number)]
        inner = Invalid(f"{origin.path}{rest}", error.message, mend=error.mend)
        return at_line(origin.name, None, inner) if origin.source is None else _at(origin.source, inner)


def _at(source: Source, error: Invalid) -> Invalid:
    path = error.path.removeprefix(".")
    return at_line(source.name, line_of(source.root, path), error)


def _is_list(found: Json) -> bool:
    return isinstance(found, Sequence) and not isinstance(found, str)


def _is_read(value: Json) -> bool:
    """Whether this is a reference to a file that is data; one that is code stays as it is written."""
    if not isinstance(value, str) or not value.startswith(_FILE):
        return False
    # `file://check.py:function` names a function.
    name = value.removeprefix(_FILE).partition(":")[0]
    return Path(name).suffix.lower() not in CODE | BINARY


def _as_text(content: Json) -> Json:
    return (
        json.dumps(content, ensure_ascii=False)
        if _is_list(content) or isinstance(content, Mapping)
        else content
    )


def _json(text: str, place: str) -> Json:
    try:
        found: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Placed(place, f"not JSON: {error}") from None
    return found
