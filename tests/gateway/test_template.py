"""Prompt templates render what prompts need, and cannot hurt the process."""

from __future__ import annotations

import contextlib
import resource
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sandbox.meter import Limits
from gateway.template import OverBudget, TemplateFailed, TemplateInvalid, compile_template


def render(source: str, **variables: object) -> str:
    return compile_template(source).render(variables)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain\n", "plain\n"),
        ("{{ name }}", "Ada"),
        ("{{ n + 1 }} {{ n * 2 }} {{ n ** 2 }} {{ n % 2 }} {{ n // 2 }} {{ -n }}", "4 6 9 1 1 -3"),
        ("{{ 'a' ~ n ~ none }}", "a3None"),
        (
            "{% for p in passages %}{{ loop.index }}/{{ loop.length }} {{ p.text }};{% endfor %}",
            "1/2 one;2/2 two;",
        ),
        ("{% for p in passages if p.score > 1 %}{{ p.text }}{% else %}none{% endfor %}", "two"),
        ("{{ passages|map(attribute='text')|join(', ') }}", "one, two"),
        ("{{ passages|selectattr('score', 'gt', 1)|map(attribute='text')|first }}", "two"),
        ("{{ passages|sort(attribute='score', reverse=true)|map(attribute='text')|list }}", "['two', 'one']"),
        (
            "{% for g in passages|groupby('score') %}{{ g.grouper }}:{{ g.list|length }} {% endfor %}",
            "1:1 2:1 ",
        ),
        ("{{ passages|sum(attribute='score') }} {{ [3, 1]|min }} {{ [3, 1]|max }}", "3 1 3"),
        ("{% if missing is defined %}x{% else %}{{ missing|default('y') }}{% endif %}", "y"),
        ("{{ missing|default('y')|upper }}", "Y"),
        ("{% set x = 3 %}{% set y %}<{{ x }}>{% endset %}{{ y }}", "<3>"),
        ("{% macro m(a, b='d') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}{{ m('x', b='y') }}", "xdxy"),
        ("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{% endcall %}", "[in]"),
        ("{% filter upper %}abc{{ name }}{% endfilter %}", "ABCADA"),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "10",
        ),
        ("{{ {'a': [1, 'é']}|tojson }}", '{"a": [1, "é"]}'),
        ("{{ {'a': 1}|tojson(indent=2) }}", '{\n  "a": 1\n}'),
        (
            "{{ 'a,b'.split(',') }} {{ 'ab'.upper() }} {{ ' a '.strip() }} {{ {'a': 1}.items() }}",
            "['a', 'b'] AB a [('a', 1)]",
        ),
        ("{{ 'abc'[1:] }}{{ 'abc'[0] }}{{ [1, 2, 3][:2] }}", "bca[1, 2]"),
        ("{{ '%s=%.1f'|format('a', 1.25) }} {{ '%d%%' % 5 }}", "a=1.2 5%"),
        ("{{ 'a\nb'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}", "a\n  b|  a\n  b"),
        ("{{ 'the quick brown fox'|truncate(12) }}", "the..."),
        (
            "{{ 1.234|round(1) }} {{ 1.2|round(0, 'ceil') }} {{ '7'|int + 1 }} {{ 'x'|int }} {{ '1.9'|int }}",
            "1.2 2.0 8 0 1",
        ),
        ("{{ d.get('a') }}{{ d.a }}{{ d['a'] }}{{ d.zz|default('-') }}", "111-"),
        ("{% for k, v in d|dictsort %}{{ k }}{{ v }}{% endfor %}", "a1b2"),
        ("{% if 'a' in d and n == 3 and n is odd %}yes{% endif %}", "yes"),
        (
            "{% for x in tree recursive %}{{ x.n }}{% if x.kids %}({{ loop(x.kids) }}){% endif %}{% endfor %}",
            "1(2(3))",
        ),
        ("{% raw %}{{ no }}{% endraw %}{# gone #}", "{{ no }}"),
        ("{{ '<b>'|escape }}{{ '<b>'|safe }}{{ '<b>' }}", "&lt;b&gt;<b><b>"),
        ("{{ 'hello world'|title }} {{ 'a b'|wordcount }} {{ 'a b'|urlencode }}", "Hello World 2 a%20b"),
        ("{{ [1, 2, 2]|unique|list }} {{ [1, 2]|reverse|list }} {{ 'ab'|reverse }}", "[1, 2] [2, 1] ba"),
        ("{{ 'a' if n > 5 else 'b' }}{{ 'yes' if 1 < n <= 3 }}", "byes"),
    ],
)
def test_renders_as_jinja_does(source: str, expected: str) -> None:
    tree = [{"n": 1, "kids": [{"n": 2, "kids": [{"n": 3, "kids": []}]}]}]
    passages = [{"text": "one", "score": 1}, {"text": "two", "score": 2}]

    assert render(source, name="Ada", n=3, d={"a": 1, "b": 2}, tree=tree, passages=passages) == expected


def test_names_are_the_variables_that_the_app_or_the_version_must_give() -> None:
    template = compile_template(
        "{% set a = b %}{{ a }}{{ question }}{% for x in range(3) %}{{ x }}{% endfor %}"
    )

    assert template.names == {"b", "question"}
    assert template.names
    assert not compile_template("{% for x in range(3) %}{{ x }}{% endfor %}").names


def test_a_missing_variable_is_named_with_its_line_and_the_mend() -> None:
    with pytest.raises(TemplateFailed) as failed:
        render("one\ntwo {{ company }}")

    assert failed.value.variable == "company"
    assert failed.value.message == "line 2: 'company' is undefined"
    assert "prompt_variables" in str(failed.value.mend)


def test_a_missing_field_is_no_missing_variable() -> None:
    with pytest.raises(TemplateFailed, match="no attribute 'b'") as failed:
        render("{{ a.b }}", a={})

    assert failed.value.variable is None


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("a\n{{ x", "unexpected end of template", 2),
        ("{% for %}", "Expected an expression", 1),
        ("{% include 'x' %}", "include", 1),
        ("{% import 'x' as y %}", "import", 1),
        ("{% from 'x' import y %}", "import", 1),
        ("{% extends 'x' %}", "extends", 1),
        ("{% block b %}{% endblock %}", "block", 1),
        ("{{ x|uper }}", "did you mean 'upper'", 1),
        ("{{ x|attr('y') }}", "no filter 'attr'", 1),
        ("{{ x|random }}", "no filter 'random'", 1),
        ("{{ x|pprint }}", "no filter 'pprint'", 1),
        ("{{ x is callable }}", "no test 'callable'", 1),
        ("{% if x %}{{ x|nothing_like_it }}{% endif %}", "no filter", 1),
        ("{{ self }}", "self", 1),
        ("{% do x %}", "unknown tag 'do'", 1),
        ("{% autoescape true %}{% endautoescape %}", "autoescape", 1),
        ("{{ " + "a ~ " * 20_000 + "a }}", "tokens", 1),
        ("x" * 300_000, "characters", None),
        ("{{ " + "9" * 5000 + " }}", "4300", None),
    ],
)
def test_what_is_no_template_is_refused_with_its_line(source: str, message: str, line: int | None) -> None:
    with pytest.raises(TemplateInvalid) as invalid:
        compile_template(source)

    assert message.lower() in invalid.value.message.lower()
    assert invalid.value.line == line


NEST = "{% set ns = namespace(a=['x']) %}{% for i in range(40) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}"
TUPLES = "{% set ns = namespace(a=('x',)) %}{% for i in range(40) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}"
TWIN = (
    NEST
    + "{% set nt = namespace(a=['x']) %}{% for i in range(40) %}{% set nt.a = [nt.a, nt.a] %}{% endfor %}"
)
TEXT = "{% set ns = namespace(s='x' * 100000) %}"
HOSTILE = [
    # Out of the cage.
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ x.__init__.__globals__ }}",
    "{{ range.__init__ }}",
    "{{ (range)['__self__'] }}",
    "{{ dict.__base__ }}",
    "{{ namespace.__globals__.os.system('true') }}",
    "{{ namespace().__class__ }}",
    "{{ namespace()._Namespace__attrs.x }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__func__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func }}",
    "{% macro m() %}{% endmacro %}{{ m._environment.globals }}",
    "{% for i in [1] %}{{ loop._iterator.gi_frame }}{% endfor %}",
    "{% for i in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{{ 'a'.upper.owner }}",
    "{{ 'a'.upper.invoke }}",
    "{{ 'a'.upper }}",
    "{{ '{0.__class__}'.format('a') }}",
    "{{ '{0.__class__}'.format_map({}) }}",
    "{{ [1]|map(attribute='__class__')|list }}",
    "{{ [1]|map('attr', '__class__')|list }}",
    "{{ [1]|map('(tick)', 0)|list }}",
    "{{ ['a']|groupby('__class__') }}",
    "{{ [1]|selectattr('__class__', 'callable')|list }}",
    "{{ [1].append(2) }}",
    "{{ {}.update({'a': 1}) }}",
    "{{ x.y.z }}",
    "{{ lipsum() }}",
    "{{ cycler('a') }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ caller.__globals__ }}",
    "{{ loop }}",
    "{% for i in [1] %}{{ loop }}{% endfor %}",
    "{{ range }}",
    # Too much text.
    "{{ 'x' * 10**9 }}",
    "{{ 10**9 * 'x' }}",
    "{% set x = 'x' * 10**10 %}",
    TEXT + "{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    TEXT + "{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    TEXT + "{% for i in range(40) %}{% set ns.s = [ns.s, ns.s]|join %}{% endfor %}",
    TEXT + "{% for i in range(40) %}{% set ns.s = ''.join([ns.s, ns.s]) %}{% endfor %}",
    TEXT + "{% for i in range(40) %}{% set ns.s = ns.s|replace('x', 'xx') %}{% endfor %}",
    TEXT + "{% for i in range(40) %}{% set ns.s = ns.s.replace('', ns.s) %}{% endfor %}",
    TEXT + "{% for i in range(40) %}{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}",
    TEXT + "{{ ('%(a)s' * 5000) % {'a': ns.s} }}",
    TEXT + "{{ ns.s|replace('x', ns.s) }}",
    TEXT + "{{ ns.s|list|join(ns.s) }}",
    TEXT + "{% for i in range(40) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}{{ ns.s }}",
    TEXT
    + "{% for i in range(40) %}{% set ns.s %}{% filter upper %}{{ ns.s }}ß{{ ns.s }}{% endfilter %}{% endset %}{% endfor %}",
    TEXT + "{% for i in range(10000) %}{{ ns.s }}{% endfor %}",
    TEXT
    + "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% else %}{{ ns.s }}{% endif %}{% endmacro %}{{ m(30) }}",
    "{% macro m(n) %}xxxxxxxxxx{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    TEXT + "{% macro id() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    "{% macro m(n) %}{% call id() %}{% if n %}{{ m(n - 1) }}{% else %}{{ ns.s }}{% endif %}{% endcall %}{% endmacro %}"
    "{{ m(40) }}",
    TEXT + "{% macro m(n) %}x{% call m(n + 1) %}{% endcall %}{% endmacro %}{{ m(0) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%.999999999f' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ '%999999999d'|format(1) }}",
    "{{ ('a\n' * 5000)|indent('x' * 5000) }}",
    "{{ [[1]]|tojson(indent=10**9) * 10**6 }}",
    "{{ '\\u0149' * 4000000 }}{{ ('\\u0149' * 4000000)|upper }}",
    "{{ ('<' * 3000000)|escape }}",
    "{{ ('é' * 3000000)|urlencode }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ 'a'.expandtabs(10**9) }}",
    "{{ 'a\\tb'.expandtabs(10**9) }}",
    "{{ 'a'.translate({97: 'x' * 100}) }}",
    NEST + "{{ ns.a }}",
    NEST + "{{ ns.a|string }}",
    NEST + "{{ ns.a|tojson }}",
    NEST + "{{ ns.a|tojson(indent=2) }}",
    NEST + "{{ ns.a ~ '' }}",
    NEST + "{{ '%s' % ns.a }}",
    NEST + "{{ '%s'|format(ns.a) }}",
    NEST + "{{ ns.a|join }}",
    NEST + "{{ [ns.a]|map('string')|list }}",
    NEST + "{{ ns.a|upper }}",
    NEST + "{{ {'a': ns.a}|urlencode }}",
    # Too much time.
    "{{ 10**10**10 }}",
    "{{ 2**1000 ** 2 }}",
    "{% set ns = namespace(n=3) %}{% for i in range(100) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "{% set ns = namespace(n=3) %}{% for i in range(100) %}{% set ns.n = ns.n ** 9 %}{% endfor %}",
    "{{ 1.5|round(10**9) }}",
    "{{ 1.5|round(-10**9) }}",
    "{{ ('9' * 1000000)|int + 'x' }}",
    "{{ ('f' * 1000000)|int(0, 16) + 'x' }}",
    "{{ range(10**9)|list }}",
    "{{ range(10001) }}",
    "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in range(10000) %}{% for b in range(10000) if false %}{% endfor %}{% endfor %}",
    "{% for a in range(10000) %}{% for b in range(10000) %}{% if a %}{% endif %}{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% for i in range(9999) %}{{ m() }}{% endfor %}{% endmacro %}{{ m() }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% for x in [1] recursive %}{{ loop([1, 2]) }}{{ loop([1, 2]) }}{% endfor %}",
    "{% for i in range(9999) %}{{ range(9999)|list|length }}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(9999)|sum %}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(9999)|map('string')|list %}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(9999)|select('odd')|list %}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(9999)|reject('in', range(9999)|list)|list %}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(9999)|sort(reverse=true) %}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(9999)|groupby('real') %}{% endfor %}",
    "{% for i in range(9999) %}{% set x = -1 in range(9999)|list %}{% endfor %}",
    "{% set l = range(9999)|list %}{% for i in l %}{{ l.index(i) }}{% endfor %}",
    "{% set l = range(9999)|list %}{% for i in l %}{% if -1 in l %}{% endif %}{% endfor %}",
    "{% set l = range(9999)|list %}{% for i in l %}{% set x = l[1:] %}{% endfor %}",
    "{% set l = range(9999)|list %}{% for i in l %}{% set x = [l[1:]" + ", l[1:]" * 500 + "] %}{% endfor %}",
    "{% set l = range(9999)|list %}{% for i in l %}{% set x = l + l %}{% endfor %}",
    "{% set x = [0] * 10**9 %}",
    "{% set x = 10**9 * (0,) %}",
    TWIN + "{{ ns.a == nt.a }}",
    TWIN + "{{ ns.a < nt.a }}",
    TWIN + "{{ ns.a is eq nt.a }}",
    TWIN + "{{ ns.a in [nt.a] }}",
    TWIN + "{{ [ns.a, nt.a]|sort }}",
    TWIN + "{{ [ns.a, nt.a]|max }}",
    TWIN + "{{ [ns.a].index(nt.a) }}",
    TWIN + "{% for i in [1] %}{{ loop.changed(ns.a) }}{% endfor %}",
    TWIN + "{{ [ns.a]|select('eq', nt.a)|list }}",
    TUPLES + "{{ {ns.a: 1} }}",
    TUPLES + "{{ {}[ns.a] }}",
    TUPLES + "{{ {}.get(ns.a) }}",
    TUPLES + "{{ ns.a in {} }}",
    TUPLES + "{{ [ns.a]|unique|list }}",
    TUPLES + "{{ [ns.a]|groupby(0) }}",
    TUPLES + "{{ namespace([(ns.a, 1)]) }}",
    TUPLES + "{{ dict([(ns.a, 1)]) }}",
    "{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a|tojson(2) }}",
    "{{ [1]|map(attribute='a.' * 100000)|list }}",
    "{{ ('a' * 100000).strip('b' * 100000) }}{{ 1 + '' }}",
    "{{ 'x'.join() }}",
    "{{ 1 / 0 }}",
    "{{ 1e308 * 10 // 0.0 }}",
    "{{ (1e308 * 10)|int + 'x' }}",
    "{{ (1e308 * 10)|round + 'x' }}",
    "{{ [1e308 * 10]|tojson }}",
    "{{ 'a' + 1 }}",
    "{{ none.x }}",
    "{% set a, b = 'abc' %}",
    "{{ {}|dictsort(by='x') }}",
    "{{ [1, 'a']|sort }}",
    "{{ [{'a': 1}]|sort }}{{ [{'a': 1}, {'b': 1}]|sort }}",
    "{{ []|first }}",
    "{{ 5|length }}",
    "{{ 'a'|truncate('x') }}",
    "{{ namespace(**{'a' : 1}).b }}",
    "{{ range(*range(9999)) }}",
    "{% for a in x %}{% endfor %}",
    "{{ 'abc'.upper(a=1) }}",
    "{{ [1]|map('nothing') }}",
    "{{ [1]|map }}",
    "{{ [1]|select('nothing')|list }}",
    "{{ 'x' is divisibleby 3 }}",
    "{{ 3 is divisibleby 0 }}",
    "{{ [missing] }}",
    "{{ [missing]|tojson }}",
    "{{ {'a': missing}|string }}",
    "{{ not_there == 1 }}",
    "{{ not_there.upper() }}",
    "{{ not_there() }}",
    "{{ not_there[0] }}",
    "{{ not_there|upper }}",
    "{{ not_there|list }}",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_template_ends_soon_small_and_with_one_of_two_errors(number: int) -> None:
    """Neither a leak, nor a hang, nor a heap: the only ways out are TemplateInvalid and TemplateFailed."""
    source = HOSTILE[number]
    before = resource.getrusage(resource.RUSAGE_SELF)
    tracemalloc.start()
    try:
        with pytest.raises((TemplateInvalid, TemplateFailed)):
            compile_template(source).render({"x": 1})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    after = resource.getrusage(resource.RUSAGE_SELF)

    assert peak < 100 << 20
    # CPU, not wall time; a tenfold margin for tracemalloc and slow machines.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ " + "-" * 3000 + "1 }}",
        "{{ " + "[" * 500 + "]" * 500 + " }}",
        "{% if 1 %}" * 1000 + "{% endif %}" * 1000,
        "{% for i in [1] %}" * 30 + "{% endfor %}" * 30,
        "{{ a" + ".b" * 2500 + " }}",
        "{{ a" + "|upper" * 2500 + " }}",
        "{{ 1" + " + 1" * 2900 + " }}",
    ],
)
def test_deep_nesting_is_refused_or_fails_and_never_crashes(source: str) -> None:
    with pytest.raises((TemplateInvalid, TemplateFailed)):
        compile_template(source).render({})


def test_the_clock_ends_what_the_steps_do_not() -> None:
    ticks = iter(range(1000))
    slow = compile_template("{% for i in range(10000) %}{% endfor %}", clock=lambda: next(ticks) * 0.04)

    with pytest.raises(OverBudget, match="50 ms"):
        slow.render({})


def test_a_small_prompt_never_reads_the_clock() -> None:
    def unread() -> float:
        raise AssertionError

    assert (
        compile_template("{{ a }}{% for i in range(3) %}{{ i }}{% endfor %}", clock=unread).render({"a": 1})
        == "1012"
    )


def test_output_is_bounded_at_the_limit_and_one_past_it() -> None:
    template = compile_template("{{ a }}", limits=Limits(output_chars=10))

    assert template.render({"a": "x" * 10}) == "x" * 10
    with pytest.raises(OverBudget, match="10 characters"):
        template.render({"a": "x" * 11})


def test_a_rendering_pays_from_its_own_budget() -> None:
    template = compile_template("{% for i in range(9000) %}{{ i }}{% endfor %}")

    assert len({template.render({}) for _ in range(30)}) == 1


def test_variables_are_not_changed_by_a_rendering() -> None:
    variables = {"a": [3, 1, 2], "d": {"x": 1}}
    render("{{ a|sort }}{{ a|reverse }}{% set d = 5 %}{{ d }}", **variables)

    assert variables == {"a": [3, 1, 2], "d": {"x": 1}}


PIECES = st.sampled_from(
    ["{{", "}}", "{%", "%}", " for x in a ", " endfor ", " if a ", " endif ", "a", "|join", ".b", "[1:", "]", "(", ")", "~", "*",
     "9", "'s'", " set x=a ", " macro m() ", " endmacro ", "{#", "#}", "\n", "text", "é", " is ", "defined", "|tojson", ",",
     "{", "}"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=40))
def test_whatever_is_typed_renders_or_ends_in_one_of_two_errors(pieces: list[str]) -> None:
    with contextlib.suppress(TemplateInvalid, TemplateFailed):
        compile_template("".join(pieces)).render({"a": ["x", {"b": 1}]})
