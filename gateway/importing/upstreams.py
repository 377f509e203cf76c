"""Where deployments are asked becomes upstreams: one for each provider, address, key and set of headers.

Knows LiteLLM's connection fields and our upstreams' shape; no route and no model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

from flags.canonical import canonical
from flags.model import Json
from gateway.config.checks import url_problems
from gateway.importing.names import Names
from gateway.importing.providers import ANTHROPIC, AZURE, AZURE_HOSTS, COMPATIBLE, Provider
from gateway.importing.report import Notes, kind_of
from gateway.importing.secrets import ENVIRON, Secrets, is_secret

ADDRESS, HEADERS = ("api_base", "base_url"), ("extra_headers", "headers")
# Other fields that say where, or as whom, a provider is asked; an upstream of kind litellm takes them as they are.
_PREFIXES = ("aws_", "vertex_", "azure_", "watsonx_", "sagemaker_", "oci_", "snowflake_", "databricks_")
_NAMES = frozenset(
    {"api_version", "region_name", "tenant_id", "client_id", "client_secret", "project", "location", "account_id"}
)  # fmt: skip
# How Azure is asked where no api-key is.
_AZURE_IDENTITY = frozenset({"azure_ad_token", "tenant_id", "client_id", "client_secret"})
_AZURE_KEY = "AZURE_API_KEY"
# RFC 9110's token.
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def connects(name: str) -> bool:
    """Whether a field says where, or as whom, a deployment is asked."""
    return (
        name in {*ADDRESS, *HEADERS, "api_key", "organization"}
        or name in _NAMES
        or name.startswith(_PREFIXES)
    )


@dataclass(slots=True)
class Upstreams:
    """The upstreams found so far. What changes here: `found`, and the names given."""

    notes: Notes
    secrets: Secrets
    # The variable's value where it is known: an address must stand in the file.
    environ: Callable[[str], str | None]
    found: dict[str, Json] = field(default_factory=dict)
    _named: dict[bytes, str] = field(default_factory=dict)
    _names: Names = field(default_factory=Names)

    def of(self, path: str, provider: str, fields: Mapping[str, Json]) -> str:
        """The name of the upstream for a deployment; `fields` are those that `connects`."""
        kind = _KINDS.get(provider, _compatible if provider in COMPATIBLE else _translated)
        spec = kind(_Asked(self, path, provider, fields))
        name = self._named.get(key := canonical(spec))
        if name is None:
            name = self._named[key] = self._names.free(provider)
            self.found[name] = spec
        self.notes.taken(path, f"asked at upstream {name}")
        return name


@dataclass(frozen=True, slots=True)
class _Asked:
    """One deployment's connection, read piece by piece; each piece is noted."""

    made: Upstreams
    path: str
    provider: str
    fields: Mapping[str, Json]

    def address(self) -> str | None:
        """The address without what may not stand in it; None where none is given."""
        name = next((each for each in ADDRESS if self.fields.get(each)), None)
        if name is None:
            return None
        path, given = f"{self.path}.{name}", self.fields[name]
        text = given if isinstance(given, str) else ""
        if text.startswith(ENVIRON):
            return self._from_environment(path, text.removeprefix(ENVIRON))
        kept = _clean(text)
        if kept is None:
            self.made.notes.changed(
                path, f"no address, but {kind_of(given)}", "write its address in the result"
            )
            return "https://address.invalid"
        if kept != text.rstrip("/"):
            self.made.notes.changed(path, "without the user, password or query that stood in it")
        else:
            self.made.notes.taken(path, "base_url")
        return kept

    def _from_environment(self, path: str, variable: str) -> str:
        kept = _clean(self.made.environ(variable) or "")
        if kept is not None:
            self.made.notes.changed(
                path, f"the address that {variable} has now: addresses are written out here"
            )
            return kept
        host = "-".join(part for part in variable.lower().replace("_", "-").split("-") if part.isalnum())
        stand_in = f"https://{host or 'address'}.invalid"
        message = f"{variable} is not set here; {stand_in} is in its place"
        self.made.notes.changed(
            path, message, f"set {variable} and import again, or write the address in the result"
        )
        return stand_in

    def key(self, usual: str | None) -> dict[str, Json]:
        """`api_key`: what is given, else the provider's usual variable."""
        given, path = self.fields.get("api_key"), f"{self.path}.api_key"
        if given in (None, ""):
            if usual is None:
                return {}
            self.made.notes.taken(path, f"{ENVIRON}{usual}, where LiteLLM looks when nothing is said")
            return {"api_key": f"{ENVIRON}{usual}"}
        return {"api_key": self.made.secrets.reference(path, given, usual or f"{self.provider}_API_KEY")}

    def headers(self) -> dict[str, Json]:
        """`headers`, secrets replaced."""
        given: dict[str, tuple[str, Json]] = {}
        if self.fields.get("organization"):
            given["OpenAI-Organization"] = ("organization", self.fields["organization"])
        for name in HEADERS:
            listed = self.fields.get(name)
            if isinstance(listed, Mapping):
                given |= {header: (f"{name}.{header}", value) for header, value in listed.items()}
            elif listed is not None:
                self.made.notes.left(f"{self.path}.{name}", f"expected a mapping, found {kind_of(listed)}")
        found = {
            header: text for header, it in given.items() if (text := self._header(header, *it)) is not None
        }
        return {"headers": found} if found else {}

    def _header(self, header: str, name: str, value: Json) -> str | None:
        path, text = f"{self.path}.{name}", str(value)
        if not _HEADER.fullmatch(header) or not (text.isascii() and text.isprintable()):
            self.made.notes.left(path, "a header has a name, and a value of printable ASCII")
            return None
        if is_secret(header):
            return self.made.secrets.reference(path, value, f"{self.provider}_{header}")
        self.made.notes.taken(path, "the same")
        return text

    def others(self) -> Iterator[tuple[str, Json]]:
        """The fields that only some providers have."""
        common = {*ADDRESS, *HEADERS, "api_key", "organization"}
        return ((name, value) for name, value in self.fields.items() if name not in common)

    def leave_others(self, *but: str) -> None:
        """Note the fields for which a native upstream has no use."""
        for name, _ in self.others():
            if name not in but:
                self.made.notes.left(f"{self.path}.{name}", f"{self.provider} is asked natively, without it")


def _compatible(asked: _Asked) -> dict[str, Json]:
    known = COMPATIBLE[asked.provider]
    address = asked.address()
    base = _below(address, known) if address else known.base_url and f"{known.base_url}{known.below}"
    if base is None:
        base = f"https://{asked.provider.replace('_', '-')}.invalid/v1"
        message = f"no address is given for {asked.provider}; {base} is in its place"
        asked.made.notes.changed(asked.path, message, "write the address in the result")
    asked.leave_others()
    # Whoever is asked at an address of one's own is often without a key.
    return {
        "kind": "openai",
        "base_url": base,
        **asked.key(None if address else known.key),
        **asked.headers(),
    }


def _below(address: str, known: Provider) -> str:
    return address if not known.below or address.endswith(known.below) else f"{address}{known.below}"


def _anthropic(asked: _Asked) -> dict[str, Json]:
    address = asked.address()
    asked.leave_others()
    # LiteLLM takes the address with and without the path; here it is the host, as the SDKs have it.
    base: dict[str, Json] = (
        {"base_url": address.removesuffix("/messages").removesuffix("/v1")} if address else {}
    )
    return {"kind": "anthropic", **base, **asked.key("ANTHROPIC_API_KEY"), **asked.headers()}


def _azure(asked: _Asked) -> dict[str, Json]:
    """Natively by Azure's /openai/v1, where a key is what it takes and the host is Azure's own; else translated."""
    given = bool(any(asked.fields.get(name) for name in ADDRESS))
    address = asked.address() if given else asked.made.environ("AZURE_API_BASE")
    if address is None:
        address = "https://azure-api-base.invalid"
        message = f"no address is given, and AZURE_API_BASE is not set here; {address} is in its place"
        asked.made.notes.changed(asked.path, message, "write the address in the result")
    host = urlsplit(address).hostname or ""
    if not host.endswith((*AZURE_HOSTS, ".invalid")) or _AZURE_IDENTITY & asked.fields.keys():
        return _translated(asked, address)
    if "api_version" in asked.fields:
        asked.made.notes.changed(
            f"{asked.path}.api_version", "Azure's /openai/v1 is asked, which has no versions"
        )
    asked.leave_others("api_version")
    base = f"{urlsplit(address).scheme}://{urlsplit(address).netloc}/openai/v1"
    return {
        "kind": "openai",
        "base_url": base,
        "auth_header": "api-key",
        **asked.key(_AZURE_KEY),
        **asked.headers(),
    }


def _translated(asked: _Asked, address: str | None = None) -> dict[str, Json]:
    base = address or asked.address()
    others = [(name, value) for name, value in asked.others() if value is not None]
    params = {
        name: _param(asked, name, value)
        for name, value in others
        if asked.made.notes.is_json(f"{asked.path}.{name}", value)
    }
    return {
        "kind": "litellm",
        "provider": asked.provider,
        **({"base_url": base} if base else {}),
        **asked.key(None),
        **asked.headers(),
        **({"params": params} if params else {}),
    }


def _param(asked: _Asked, name: str, value: Json) -> Json:
    path = f"{asked.path}.{name}"
    if is_secret(name):
        return asked.made.secrets.reference(path, value, name)
    asked.made.notes.taken(path, f"params.{name} of the upstream")
    return value


def _clean(text: str) -> str | None:
    """An address without user, password, query and fragment; None where it is none."""
    try:
        parts = urlsplit(text.strip())
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    found = urlunsplit((parts.scheme, f"{host}{port}", parts.path.rstrip("/"), "", ""))
    return None if any(url_problems("", found)) or not found.isascii() or not found.isprintable() else found


_KINDS: Mapping[str, Callable[[_Asked], dict[str, Json]]] = MappingProxyType(
    {ANTHROPIC: _anthropic, AZURE: _azure}
)
