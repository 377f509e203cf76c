"""A channel's own words: its template, compiled once and rendered in the sandbox. Knows no channel's form.

A template that fails keeps nobody from being told: then our own words are sent.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.notices.channel import Notice
from gateway.sandbox.meter import Limits
from gateway.template import Template, TemplateFailed, TemplateInvalid, compile_template
from policies.notices.event import cut
from policies.notices.wording import TEXT_CHARS, variables

log = logging.getLogger("pointsman.notices")

# A notice is a few lines; it is rendered in the worker that also serves requests.
LIMITS = Limits(output_chars=16_384, chars=262_144, steps=10_000, seconds=0.02)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one channel; without a template, ours."""

    template: Template | None = None

    def own(self, notice: Notice) -> str | None:
        """The template's text, None where ours are to be used."""
        if self.template is None:
            return None
        try:
            text = self.template.render(variables(notice.event, notice.more))
        except TemplateFailed as error:
            log.warning("a notice's template failed, our own words are sent: %s", error)
            return None
        return cut(text, TEXT_CHARS) if text.strip() else None


OURS = Words()


def words_of(source: str | None) -> Words:
    """The words that a template makes; ours where it is none (the config's check has told)."""
    if source is None:
        return OURS
    try:
        return Words(compile_template(source, limits=LIMITS))
    except TemplateInvalid as error:
        log.warning("a notice's template does not compile, our own words are sent: %s", error)
        return OURS
