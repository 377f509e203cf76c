"""A LiteLLM `config.yaml` becomes a config document of ours, and a report of what was taken and what was not.

Pure: the document, and how to look up a variable, are passed in; what comes out is checked by whoever loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flags.errors import Invalid
from flags.model import Json
from gateway.importing import sections
from gateway.importing.models import Deployment, deployments
from gateway.importing.names import Names, mended
from gateway.importing.report import Malformed, Notes, Report, kind_of
from gateway.importing.secrets import ENVIRON, Secrets
from gateway.importing.upstreams import Upstreams
from gateway.importing.versions import MAX_FALLBACKS, Defaults, split, version

EVERY = "*"
CATCH_ALL = "catch-all"
_KEYS = ("model_list", *sections.SECTIONS)


def looks_like_litellm(document: Json) -> bool:
    """Whether a document has one of LiteLLM's sections."""
    return isinstance(document, Mapping) and any(name in document for name in _KEYS)


def from_litellm(document: Json, environ: Callable[[str], str | None]) -> tuple[dict[str, Json], Report]:
    """Our config document, and the report. Raises Malformed with all that is wrong with the file's shape.

    `environ` looks up a variable: an address must be written out, a secret never is.
    """
    if not isinstance(document, Mapping) or "model_list" not in document:
        found = (
            f"sections {', '.join(sorted(document)[:10])}"
            if isinstance(document, Mapping)
            else kind_of(document)
        )
        message = f"expected a LiteLLM config with a model_list, found {found or 'nothing'}"
        raise Malformed((Invalid("", message, mend="name the file that the proxy is started with"),))
    notes = Notes()
    declared = sections.section(document, "environment_variables")

    def variable(name: str) -> str | None:
        own = declared.get(name)
        return own if isinstance(own, str) and not own.startswith(ENVIRON) else environ(name)

    upstreams = Upstreams(notes, Secrets.of(notes, document), variable)
    listed = deployments(document["model_list"], _credentials(document, notes), upstreams)
    return _Import(document, notes, upstreams).result(listed)


def _credentials(document: Mapping[str, Json], notes: Notes) -> dict[str, Mapping[str, Json]]:
    """The fields of each named credential."""
    listed, found = document.get("credential_list"), {}
    for index, each in enumerate(listed if isinstance(listed, list) else ()):
        name, values = (
            (each.get("credential_name"), each.get("credential_values"))
            if isinstance(each, Mapping)
            else ("", "")
        )
        if isinstance(name, str) and isinstance(values, Mapping):
            found[name] = values
            notes.taken(f"credential_list[{index}]", "in the upstreams of the models that name it")
        else:
            notes.left(f"credential_list[{index}]", "expected credential_name and credential_values")
    return found


@dataclass(slots=True)
class _Import:
    """One import. What changes here: the sections of the result."""

    document: Mapping[str, Json]
    notes: Notes
    upstreams: Upstreams
    flags: dict[str, Json] = field(default_factory=dict)
    routes: dict[str, Json] = field(default_factory=dict)
    _names: Names = field(default_factory=Names)
    _named: dict[str, str] = field(default_factory=dict)

    def result(self, listed: Sequence[Deployment]) -> tuple[dict[str, Json], Report]:
        """All sections, and the report."""
        groups: dict[str, list[Deployment]] = {}
        for each in listed:
            if self._can_route(each):
                groups.setdefault(each.name, []).append(each)
        defaults = sections.defaults(self.document, self.notes)
        common = {
            **sections.cached(self.document, self.notes),
            **sections.kept_alive(self.document, self.notes),
        }
        fallbacks = _Fallbacks(self.document, self.notes, groups)
        # Names that need no mending are theirs before another is mended to one of them.
        for name in sorted(groups, key=lambda each: mended(each) != each):
            self._named[name] = self._names.free(CATCH_ALL if name == EVERY else name)
        for name, group in groups.items():
            self._add(name, group, fallbacks.of(name), defaults, common)
        self._aliases(common)
        fallbacks.tell()
        sections.tell_rest(self.document, self.notes, read=_READ)
        found = {"upstreams": self.upstreams.found, "flags": self.flags, "routes": self.routes}
        if not self.flags:
            message = "no model of it can be taken: each is without a provider, or a pattern of names"
            raise Malformed((Invalid("model_list", message, mend="add an entry with provider/model"),))
        return {name: section for name, section in found.items() if section}, self.notes.report()

    def _can_route(self, one: Deployment) -> bool:
        path = f"{one.path}.model_name"
        if EVERY in one.name and one.name != EVERY:
            message = f"a route is one name, or {EVERY} for all; upstream {one.upstream} is declared"
            self.notes.left(
                path, message, "add a route, and its model flag, for each model that apps ask for"
            )
            return False
        if (EVERY in one.model and one.model != EVERY) or (one.model == EVERY and one.name != EVERY):
            message = f"the provider's model must be a name, or {EVERY} where the route is {EVERY}"
            self.notes.left(f"{one.path}.litellm_params.model", message, "write the model's name")
            return False
        return True

    def _add(
        self,
        name: str,
        group: Sequence[Deployment],
        fallbacks: Iterable[dict[str, Json]],
        defaults: Defaults,
        common: dict[str, Json],
    ) -> None:
        key = self._named[name]
        serving, standing_by = split(group, self.notes)
        own = [each.target for each in serving]
        after: list[dict[str, Json]] = []
        for target in (*(each.target for each in standing_by), *fallbacks):
            if target not in own and target not in after:
                after.append(target)
        variant = "any" if serving[0].model == EVERY else mended(serving[0].model)
        content = version(serving, after[:MAX_FALLBACKS], defaults, self.notes)
        self.flags[f"{key}.model"] = {"layer": "model", "serve": variant, "variants": {variant: content}}
        self.routes[EVERY if name == EVERY else key] = {
            **({"model": f"{key}.model"} if name == EVERY else {}),
            **common,
        }
        self._tell_names(name, key, group)

    def _tell_names(self, name: str, key: str, group: Sequence[Deployment]) -> None:
        for each in group:
            path = f"{each.path}.model_name"
            if name == EVERY:
                self.notes.taken(path, f"route {EVERY}: whatever name is no route")
            elif name == key:
                self.notes.taken(path, f"route {key}, flag {key}.model")
            else:
                mend = f"let the apps ask for model {key}"
                self.notes.changed(path, f"route {key}: a name may have letters, digits and . _ -", mend)

    def _aliases(self, common: dict[str, Json]) -> None:
        aliases = sections.section(sections.section(self.document, "router_settings"), "model_group_alias")
        for alias, meant in aliases.items():
            path = f"router_settings.model_group_alias.{alias}"
            target = meant.get("model") if isinstance(meant, Mapping) else meant
            key = self._named.get(target) if isinstance(target, str) else None
            if key is None:
                self.notes.left(path, "it names no model that was taken")
                continue
            route = self._names.free(alias)
            self.routes[route] = {"model": f"{key}.model", **common}
            if route == alias:
                self.notes.taken(path, f"route {route}, with the flag {key}.model")
            else:
                self.notes.changed(
                    path, f"route {route}, with the flag {key}.model", f"ask for model {route}"
                )


class _Fallbacks:
    """Who is asked when a model has failed, by its name, as `router_settings` or `litellm_settings` tell."""

    def __init__(
        self, document: Mapping[str, Json], notes: Notes, groups: Mapping[str, Sequence[Deployment]]
    ) -> None:
        self._notes, self._groups = notes, groups
        self._of: dict[str, list[Json]] = {}
        self._places: dict[str, list[Json]] = {}
        for place in ("router_settings", "litellm_settings"):
            fields = sections.section(document, place)
            for listed in _list(fields.get("fallbacks")):
                for name, others in listed.items() if isinstance(listed, Mapping) else ():
                    self._of.setdefault(name, []).extend(_list(others))
            self._of.setdefault(EVERY, []).extend(_list(fields.get("default_fallbacks")))
            for name in ("fallbacks", "default_fallbacks"):
                if fields.get(name):
                    self._places[f"{place}.{name}"] = _list(fields[name])

    def of(self, name: str) -> list[dict[str, Json]]:
        """The targets of the models that `name` falls back to, in order, itself left out."""
        found = []
        for other in dict.fromkeys(
            each for each in self._of.get(name) or self._of[EVERY] if isinstance(each, str)
        ):
            if other not in (name, EVERY):
                found += [each.target for each in self._groups.get(other, ()) if each.model != EVERY]
            if len(found) > MAX_FALLBACKS:
                break
        return found

    def tell(self) -> None:
        """Note what became of each setting."""
        wanted = [each for others in self._of.values() for each in others]
        strange = sorted({each for each in wanted if isinstance(each, str) and each not in self._groups})
        odd = any(not isinstance(each, str) for each in wanted)
        for path, listed in self._places.items():
            if not listed:
                self._notes.left(path, "expected a list")
                continue
            message = f"fallbacks of the versions, {MAX_FALLBACKS} at most: they get the parameters of the version itself"
            self._notes.changed(path, message)
            if strange or odd:
                names = ", ".join(strange[:10]) or "those that are no names"
                self._notes.left(f"{path}[…]", f"not among the models that were taken: {names}")


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


# The settings that were noted where they were read.
_READ = frozenset(
    {
        "router_settings.num_retries", "router_settings.timeout", "router_settings.stream_timeout",
        "router_settings.routing_strategy", "router_settings.fallbacks", "router_settings.default_fallbacks",
        "router_settings.model_group_alias", "litellm_settings.num_retries", "litellm_settings.request_timeout",
        "litellm_settings.fallbacks", "litellm_settings.default_fallbacks", "litellm_settings.cache",
        "litellm_settings.cache_params", "credential_list",
        "litellm_settings.sse_keepalive_ping_interval_seconds", "general_settings.sse_keepalive_ping_interval_seconds",
    }
)  # fmt: skip
