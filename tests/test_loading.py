"""A plugin is taken whole or left out whole, and whatever it does harms nobody else."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore
from qcore import hookspecs
from qcore.errors import PluginError, SpecError, UnknownIdError
from qcore.loading import OWN, PluginRecord, Plugins, plugins
from qcore.registry import KINDS, check_class

ENTRIES = importlib.metadata.entry_points(group="qcore")

SCHEME = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
import qcore
from qcore import Quantizer, QuantParams

@dataclass(frozen=True)
class Scheme(Quantizer):
    """The scale is the block's mean magnitude."""
    id: ClassVar[str] = "{id}"
    bits: ClassVar[int] = 2

    def fit(self, blocks, context):
        scale = np.abs(blocks).mean(axis=1, keepdims=True)
        return QuantParams(scale=context.snap(np.where(scale > 0, scale, 1)))

    def encode(self, blocks, params, rounding):
        return np.clip(rounding.round(blocks / params.scale), -1, 1).astype(np.int8)

    def decode(self, codes, params):
        return codes * params.scale
'''
HOOK = """
@qcore.hookimpl
def qcore_schemes():
    return [Scheme]
"""


def scheme(id: str, hook: str = HOOK) -> str:
    """The source of a plugin that gives one scheme."""
    return SCHEME.format(id=id) + hook


def hook(body: str, name: str = "qcore_schemes") -> str:
    """The source of a plugin with one hook."""
    body = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return f"import qcore\n\n@qcore.hookimpl\ndef {name}():\n{body}\n"


Install = Callable[..., EntryPoint]
NUMBERS = itertools.count()  # a module is imported once a process, so each has a name of its own


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with one plugin on the path, as pip would, and gives its entry point."""

    def installer(
        distribution: str,
        source: str,
        *,
        name: str | None = None,
        target: str | None = None,
        requires: str | None = None,
    ) -> EntryPoint:
        made = next(NUMBERS)
        site = tmp_path / f"site{made}"
        module = f"plugin_{made}_{distribution.replace('-', '_').lower()}"
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
            + (f"Requires-Dist: {requires}\n" if requires else "")
        )
        entry = f"{name or distribution} = {target or module}"
        (info / "entry_points.txt").write_text(f"[qcore]\n{entry}\n")
        monkeypatch.syspath_prepend(str(site))
        (found,) = importlib.metadata.distributions(path=[str(site)])
        (entry_point,) = found.entry_points
        assert entry_point.dist is not None
        return entry_point

    return installer


HOOK_PAGES = Path(__file__).parent.parent / "docs" / "hooks"


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_every_hook_is_a_plugin_that_loads_and_conforms(
    install: Install, kind: str
) -> None:
    hook, interface = KINDS[kind]
    page = (HOOK_PAGES / f"{hook.removeprefix('qcore_').replace('_', '-')}.md").read_text()
    source = page.partition("```python\n")[2].partition("```")[0]
    found = Plugins([install(f"acme-{kind}", source, name="acme")])
    provided = record(found, "acme")
    assert provided.error is None
    ((given, (id,)),) = provided.provides.items()
    assert given == kind
    assert issubclass(found.get(kind, id), interface)


def record(found: Plugins, name: str) -> PluginRecord:
    (only,) = [r for r in found.records if r.name == name]
    return only


def test_a_plugin_of_thirty_lines_is_installed_and_runs(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Plugins([install("acme-ternary", scheme("ternary"), name="ternary")])
    assert record(found, "ternary") == PluginRecord(
        "ternary", "acme-ternary", "1.0", {"scheme": ["ternary"]}
    )
    assert found.registry.ids("scheme") == ["ternary"]
    recipe = qcore.Recipe(found.create("scheme", "ternary"))
    x = np.array([[1.0, -1.0, 0.1, 2.0]], np.float32)
    assert qcore.quantize(x, recipe).codes.tolist() == [[1, -1, 0, 1]]
    (row,) = qcore.compare({"x": x}, [recipe]).rows
    assert row.error is None
    assert row.metrics["bits_per_weight"] == 2 + 32 / 4


def test_an_installed_plugin_is_found_by_the_whole_process(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-ternary", scheme("ternary"), name="ternary")
    monkeypatch.setenv("QCORE_PLUGINS", "acme-ternary,  symmetric, numpy")
    assert qcore.ids("scheme") == ["symmetric", "ternary"]
    assert qcore.Recipe("ternary").bits == 2
    assert qcore.Recipe.parse("ternary bits=2 granularity=token").scheme == "ternary"


RETURNED = "qcore_schemes returned "
IMPORTS = (
    "from abc import abstractmethod\nfrom dataclasses import dataclass\nfrom typing import ClassVar"
)


def variant(change: str) -> str:
    """A plugin whose class has been changed."""
    old, new = change.split(" -> ")
    source = scheme("ternary")
    assert old in source
    return f"{IMPORTS}\n{source.replace(old, new.replace('NEWLINE', chr(10)))}"


def with_field(declaration: str) -> str:
    """A plugin whose class has an option."""
    field = f"import typing\n{scheme('ternary')}".replace(
        "    def fit(", f"    {declaration}\n\n    def fit(", 1
    )
    assert declaration in field
    return field


def metric(needs: str = "x2", scope: str = "tensor") -> str:
    """A plugin that gives a metric."""
    return f"""
from dataclasses import dataclass
import qcore

@dataclass(frozen=True)
class Bias(qcore.Metric):
    id = "bias"
    needs = frozenset({{'{needs}'}})
    scope = "{scope}"

    def from_stats(self, stats):
        return stats.x2

@qcore.hookimpl
def qcore_metrics():
    return [Bias]
"""


def reader(body: str) -> str:
    """A plugin that gives a reader."""
    return f"""
from dataclasses import dataclass
import qcore

@dataclass(frozen=True)
class Reader(qcore.TensorReader):
    id = "acme"
    {body}

    def sniff(self, path): return False
    def tensors(self, path): return iter(())
    def read(self, info): return None

@qcore.hookimpl
def qcore_readers():
    return [Reader]
"""


BROKEN = {
    "an unknown hook": (
        hook("return []", "qcore_scheme"),
        "unknown hook qcore_scheme, did you mean 'qcore_schemes'?",
    ),
    "an unknown hook that is like no other": (
        hook("return []", "qcore_xyzzy"),
        "unknown hook qcore_xyzzy",
    ),
    "a hook whose prefix is misspelt": (
        hook("return []", "qcor_schemes"),
        "unknown hook qcor_schemes, did you mean 'qcore_schemes'?",
    ),
    "a hook that raises": (hook("1 / 0"), "ZeroDivisionError: division by zero"),
    "a hook that raises on many lines": (
        hook("raise ValueError('first\\nsecond')"),
        "ValueError: first",
    ),
    "a hook that raises without a word": (hook("raise ValueError"), "ValueError"),
    "a hook that exits": (hook("raise SystemExit(3)"), "SystemExit: 3"),
    "a hook that asks for arguments": (
        "import qcore\n\n@qcore.hookimpl\ndef qcore_schemes(x):\n    return []\n",
        "PluginValidationError: ",
    ),
    "a number": (hook("return 7"), RETURNED + "7; return a list"),
    "nothing": (hook("pass"), RETURNED + "None; return a list"),
    "a class and not a list": (
        hook("return int"),
        RETURNED + "<class 'int'>; return a list",
    ),
    "a list of no classes": (hook("return [7]"), RETURNED + "7, which is no class; return classes"),
    "an object": (
        scheme("ternary").replace("[Scheme]", "[Scheme()]"),
        RETURNED + "Scheme(), which is no class; return classes",
    ),
    "a class of another interface": (
        hook("return [int]"),
        RETURNED + "int, which is no Quantizer",
    ),
    "a scheme as a rounding": (
        scheme("ternary", HOOK.replace("qcore_schemes", "qcore_roundings")),
        "qcore_roundings returned Scheme, which is no RoundingPolicy",
    ),
    "an abstract class": (variant("def decode -> def dekode"), "Scheme lacks decode"),
    "the interface itself": (
        hook("return [qcore.Quantizer]"),
        "Quantizer lacks decode, encode, fit",
    ),
    "no dataclass": (
        variant("@dataclass(frozen=True) ->  "),
        "Scheme is no frozen dataclass; put @dataclass(frozen=True) above it",
    ),
    "a dataclass that is not frozen": (
        variant("(frozen=True) -> ()"),
        "Scheme is no frozen dataclass; put @dataclass(frozen=True) above it",
    ),
    "a subclass that forgot to be a dataclass": (
        f"{scheme('ternary', '')}\nclass Child(Scheme):\n    id = 'child'\n"
        f"{HOOK.replace('Scheme', 'Child')}",
        "Child is no frozen dataclass; put @dataclass(frozen=True) above it",
    ),
    "no id": (
        variant('id: ClassVar[str] = "ternary" ->  '),
        "Scheme has id None; an id is lower-case words joined by hyphens",
    ),
    "an upper-case id": (
        scheme("Ternary"),
        "Scheme has id 'Ternary'; an id is lower-case words joined by hyphens",
    ),
    "an id with a colon": (
        scheme("ter:nary"),
        "Scheme has id 'ter:nary'; an id is lower-case words joined by hyphens",
    ),
    "an empty id": (scheme(""), "Scheme has id ''; an id is lower-case words joined by hyphens"),
    "an id that is no text": (
        variant('"ternary" -> 7'),
        "Scheme has id 7; an id is lower-case words joined by hyphens",
    ),
    "an id that is a field": (
        variant("id: ClassVar[str] = -> id: str ="),
        "Scheme.id is a field, and so an option; write id: ClassVar[str] = …",
    ),
    "an id that means something else": (
        scheme("float"),
        "'float' is a word of qcore's own; choose another id",
    ),
    "an option of a type that no spec gives": (
        with_field("levels: tuple = (1, 2)"),
        "Scheme.levels is of type tuple; options are int, float, bool, str or Literal",
    ),
    "an option that may be nothing": (
        with_field("k: int | None = None"),
        "Scheme.k is of type int | None; options are int, float, bool, str or Literal",
    ),
    "an option of a type that is not there": (
        "from __future__ import annotations\n" + with_field("k: Missing = 2"),
        "the type of Scheme.k cannot be told: NameError: name 'Missing' is not defined",
    ),
    "a default of another type": (
        with_field("k: int = '2'"),
        "the default of Scheme.k cannot be: 'ternary': k must be a whole number, not '2'",
    ),
    "a default that is none of the choices": (
        with_field("mode: typing.Literal['up', 'down'] = 'upp'"),
        "the default of Scheme.mode cannot be: 'ternary': mode=upp is not one of up, down, did you "
        "mean 'up'?",
    ),
    "a metric of a sum that there is not": (
        metric(needs="x2', 'e3"),
        "Bias needs 'e3', which is no sum; sums are x2, e2, xy, y2, abs_e, max_e, clipped",
    ),
    "a metric over what there is not": (
        metric(scope="layer"),
        "Bias.scope is neither tensor nor output",
    ),
    "a reader that cannot be made": (
        reader("def __post_init__(self):\n        raise ValueError('no licence')"),
        "ValueError: no licence (plugin_",
    ),
    "a reader that is not made without options": (
        reader("level: int"),
        "TypeError: Reader.__init__() missing 1 required positional argument: 'level'",
    ),
    "no bits": (
        variant("bits: ClassVar[int] = 2 -> "),
        "Scheme has no bits; declare the field, or a class constant",
    ),
    "one class twice": (
        scheme("ternary").replace("[Scheme]", "[Scheme, Scheme]"),
        "gives scheme 'ternary' twice",
    ),
    "an import that fails": (
        "import no_such_library",
        "ModuleNotFoundError: No module named 'no_such_library'",
    ),
    "a syntax error": ("def", "SyntaxError: "),
    "an import that exits": ("import sys\nsys.exit('bye')", "SystemExit: bye"),
}


@pytest.mark.parametrize(("source", "error"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_a_record_with_its_error_and_the_others_are_healthy(
    install: Install, source: str, error: str
) -> None:
    before = install("acme-before", scheme("before"))
    broken = install("broken", source)
    after = install("zebra", scheme("after"))
    found = Plugins([broken, after, before])
    failed = record(found, "broken")
    assert failed.error is not None
    assert error in failed.error
    assert "\n" not in failed.error
    assert failed.error == failed.error.strip()
    assert (failed.distribution, failed.version, failed.provides) == ("broken", "1.0", {})
    assert [r.name for r in found.records if r.error] == ["broken"]
    assert found.registry.ids("scheme") == ["after", "before"]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("os", "names 'os', which implements no hook; name the module with @qcore.hookimpl"),
        (
            "json:JSONDecoder",
            "names 'json:JSONDecoder', which implements no hook; "
            "name the module with @qcore.hookimpl",
        ),
        ("not a module!", "entry point 'not a module!' is not module[:attribute]"),
        ("a-b", "entry point 'a-b' is not module[:attribute]"),
    ],
)
def test_an_entry_point_that_names_no_module_with_a_hook_is_a_failed_plugin(
    install: Install, target: str, error: str
) -> None:
    found = Plugins([install("lost", "", target=target), install("acme", scheme("acme"))])
    assert record(found, "lost").error == error
    assert found.registry.ids("scheme") == ["acme"]


def test_what_fails_at_loading_says_where(install: Install) -> None:
    source = scheme("ternary") + hook("raise ValueError('no metrics')", "qcore_metrics")
    lines = source.splitlines()
    raising, hooked = install("in-a-hook", source), install("at-import", "import qcore\n1 / 0")
    found = Plugins([raising, hooked])
    line = 1 + next(i for i, text in enumerate(lines) if "no metrics" in text)
    assert record(found, "in-a-hook").error == (
        f"ValueError: no metrics ({raising.module}.py:{line}, in qcore_metrics)"
    )
    assert record(found, "at-import").error == (
        f"ZeroDivisionError: division by zero ({hooked.module}.py:2)"
    )


def test_a_distribution_without_metadata_harms_nobody(install: Install) -> None:
    lost = install("lost", scheme("lost"))
    (Path(lost.dist._path) / "METADATA").unlink()  # type: ignore[union-attr]
    found = Plugins([lost, install("acme", scheme("acme"))])
    assert "acme" in found.registry.ids("scheme")


@pytest.mark.parametrize("target", ["no_such_module", "json:no_such_attribute"])
def test_an_entry_point_that_leads_nowhere_is_a_failed_plugin(
    install: Install, target: str
) -> None:
    found = Plugins([install("lost", "", target=target), install("acme", scheme("acme"))])
    error = record(found, "lost").error
    assert error is not None
    assert "no_such" in error
    assert found.registry.ids("scheme") == ["acme"]


@pytest.mark.parametrize("where", ["at import", "in a hook"])
def test_an_interrupt_is_no_failure_of_a_plugin(install: Install, where: str) -> None:
    source = "raise KeyboardInterrupt"
    entry_point = install("slow", source if where == "at import" else hook(source))
    with pytest.raises(KeyboardInterrupt):
        Plugins([entry_point])


def test_the_later_of_two_plugins_with_one_id_is_refused_whole_and_both_are_named(
    install: Install,
) -> None:
    both = SCHEME.format(id="extra").replace("Scheme", "Extra") + scheme("shared").replace(
        "[Scheme]", "[Extra, Scheme]"
    )
    found = Plugins([install("zebra", both), install("acme", scheme("shared"))])
    assert record(found, "acme").provides == {"scheme": ["shared"]}
    refused = record(found, "zebra")
    assert refused.error == (
        "scheme 'shared' is already given by plugin 'acme' (acme); choose another id"
    )
    assert refused.provides == {}
    assert found.registry.ids("scheme") == ["shared"]  # nor is zebra's other scheme there
    assert found.registry.entries["scheme"]["shared"].plugin == "acme"


def test_a_failure_in_one_hook_takes_the_plugin_s_others_back(install: Install) -> None:
    source = scheme("ternary") + hook("raise ValueError('no metrics')", "qcore_metrics")
    found = Plugins([install("half", source)])
    assert "ValueError: no metrics" in (record(found, "half").error or "")
    assert found.registry.ids("scheme") == []


def test_the_order_is_builtin_then_own_then_by_name(install: Install) -> None:
    strangers = [install(name, scheme(name)) for name in ("zebra", "aardvark", "middle")]
    found = Plugins([*strangers, *reversed(list(ENTRIES))])
    assert [r.distribution for r in found.records] == [
        "qcore-quant", *OWN, "aardvark", "middle", "zebra",
    ]  # fmt: skip
    assert found.records[0].name == "builtin"
    assert not [r for r in found.records if r.error]


def test_nobody_pushes_out_a_scheme_of_qcore_by_being_called_acme(install: Install) -> None:
    found = Plugins([install("a-acme", scheme("symmetric")), *ENTRIES])
    assert record(found, "a-acme").error == (
        "scheme 'symmetric' is already given by plugin 'symmetric' (qcore-symmetric); "
        "choose another id"
    )
    assert found.registry.get("scheme", "symmetric").__module__.startswith("qcore_symmetric")


def test_nobody_replaces_what_is_built_in(install: Install) -> None:
    source = hook(
        """
        from qcore.builtin.roundings import HalfEven
        return [HalfEven]
        """,
        "qcore_roundings",
    )
    found = Plugins([install("acme", source)])
    assert record(found, "acme").error == (
        "rounding 'half-even' is already given by plugin 'builtin' (qcore-quant); choose another id"
    )


@pytest.mark.parametrize("name", ["builtin", "symmetric", "int8-blas"])
def test_nobody_calls_a_plugin_as_one_of_qcore_s_own(install: Install, name: str) -> None:
    found = Plugins([install("acme", scheme("ternary"), name=name)])
    assert found.records[-1].distribution == "acme"
    assert found.records[-1].error == (
        f"'{name}' is the name of a plugin of qcore's own; rename the entry point"
    )


def test_the_plugins_of_qcore_have_the_names_that_are_kept_for_them() -> None:
    assert {e.dist.name: e.name for e in ENTRIES if e.dist and e.dist.name in OWN} == OWN


def test_two_distributions_may_call_their_plugins_the_same_and_are_told_apart(
    install: Install,
) -> None:
    found = Plugins(
        [
            install("acme", scheme("first"), name="scheme"),
            install("zebra", scheme("second"), name="scheme"),
            install("zoo", scheme("second"), name="third"),
        ]
    )
    assert [r.error for r in found.records[:3]] == [None, None, None]
    assert found.registry.ids("scheme") == ["first", "second"]
    assert found.registry.entries["scheme"]["first"].plugin == "scheme (acme)"
    assert record(found, "third").error == (
        "scheme 'second' is already given by plugin 'scheme (zebra)' (zebra); choose another id"
    )


def test_a_distribution_that_was_renamed_says_which_to_uninstall(install: Install) -> None:
    old = install("acme-old", scheme("ternary"), name="ternary")
    new = install("acme-ternary", "", name="ternary-2", target=old.module)
    found = Plugins([old, new])
    assert record(found, "ternary").error is None
    assert record(found, "ternary-2").error == (
        f"names '{old.module}', as plugin 'ternary' of acme-old does; "
        "pip uninstall the one that is no longer needed"
    )


def test_a_plugin_may_return_a_tuple_or_nothing_at_all(install: Install) -> None:
    found = Plugins(
        [
            install("pair", scheme("pair").replace("[Scheme]", "(Scheme,)")),
            install("empty", hook("return []")),
        ]
    )
    assert not [r for r in found.records if r.error]
    assert record(found, "empty").provides == {}


@pytest.mark.parametrize("ask", ["create", "Recipe", "recipe_product"])
def test_the_plugin_that_failed_is_named_to_who_asks_for_its_scheme(
    install: Install, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    install("acme-ternary", "import no_such_library", name="ternary")
    monkeypatch.setenv("QCORE_PLUGINS", "ternary,symmetric,numpy")
    asking: dict[str, Callable[[], Any]] = {
        "create": lambda: qcore.create("scheme", "ternary"),
        "Recipe": lambda: qcore.Recipe("ternary"),
        "recipe_product": lambda: qcore.recipe_product(scheme=["ternary"]),
    }
    with pytest.raises(UnknownIdError) as caught:
        asking[ask]()
    assert re.sub(r"plugin_\d+_", "", str(caught.value)) == (
        "unknown scheme 'ternary'; installed: symmetric. plugin 'ternary' (acme-ternary 1.0) "
        "failed to load: ModuleNotFoundError: No module named 'no_such_library' (acme_ternary.py:1)"
    )
    assert (caught.value.kind, caught.value.id) == ("scheme", "ternary")


def test_every_failed_plugin_is_named_where_none_is_likely(install: Install) -> None:
    found = Plugins([install("acme", hook("1 / 0")), install("zebra", hook("pass"))])
    with pytest.raises(UnknownIdError) as caught:
        found.create("scheme", "nf4")
    message = str(caught.value)
    assert message.startswith("unknown scheme 'nf4'; no scheme is installed. plugin 'acme' (acme 1")
    assert "; plugin 'zebra' (zebra 1.0) failed to load: qcore_schemes returned None" in message
    with pytest.raises(UnknownIdError) as caught:
        found.create("scheme", "zebra")
    assert "acme" not in str(caught.value)


def test_an_unknown_id_without_failures_has_no_note() -> None:
    with pytest.raises(UnknownIdError) as caught:
        qcore.create("rounding", "half-evn")
    assert str(caught.value).startswith("unknown rounding 'half-evn', did you mean 'half-even'?; ")
    assert "failed" not in str(caught.value)
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("call", [qcore.ids, lambda kind: qcore.create(kind, "x")])
def test_an_unknown_kind_is_an_error_with_the_nearest(call: Callable[[str], object]) -> None:
    with pytest.raises(UnknownIdError, match="unknown kind 'schem', did you mean 'scheme'"):
        call("schem")


@pytest.mark.parametrize(
    ("allowed", "schemes"),
    [
        ("apot,symmetric", ["apot", "symmetric"]),
        (" qcore-apot , qcore-pot ", ["apot", "pot"]),
        ("", []),
    ],
)
def test_only_the_plugins_that_are_allowed_are_loaded(
    monkeypatch: pytest.MonkeyPatch, allowed: str, schemes: list[str]
) -> None:
    monkeypatch.setenv("QCORE_PLUGINS", allowed)
    assert qcore.ids("scheme") == schemes
    assert plugins().records[0].name == "builtin"
    assert "half-even" in qcore.ids("rounding")
    assert len(plugins().records) == 1 + len(schemes)


def test_a_name_that_no_plugin_has_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCORE_PLUGINS", "symetric,apot")
    (failed,) = plugins().failed
    assert (failed.name, failed.distribution) == ("symetric", "not installed")
    assert failed.error == (
        "QCORE_PLUGINS names it, but no such plugin is installed, did you mean 'symmetric'?"
    )


def test_without_a_scheme_the_name_that_no_plugin_has_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QCORE_PLUGINS", "badd")
    with pytest.raises(qcore.UsageError) as caught:
        qcore.recipe_product()
    assert str(caught.value) == (
        "no scheme is installed; install one, such as qcore-symmetric. plugin 'badd' (not "
        "installed) failed to load: QCORE_PLUGINS names it, but no such plugin is installed"
    )


MADE_WRONGLY = {
    "ValueError": (
        "raise ValueError('mu must be positive')",
        "ValueError: mu must be positive (plugin 'mu-law', {place}, in __post_init__)",
    ),
    "AttributeError": (
        "self.half",
        "AttributeError: 'Scheme' object has no attribute 'half' "
        "(plugin 'mu-law', {place}, in __post_init__)",
    ),
    "a field that is set": (
        "self.mu = 3",
        "FrozenInstanceError: cannot assign to field 'mu' "
        "(plugin 'mu-law', {place}, in __post_init__)",
    ),
    "an exit": (
        "raise SystemExit(3)",
        "SystemExit: 3 (plugin 'mu-law', {place}, in __post_init__)",
    ),
    "another error of qcore's": (
        "raise qcore.RangeError('too far')",
        "too far (plugin 'mu-law', {place}, in __post_init__)",
    ),
}


def mu_law(body: str, method: str = "__post_init__") -> str:
    """A plugin with a scheme that has an option, and does something when it is made."""
    source = scheme("mu-law").replace(
        "    def fit(",
        f"    mu: float = 255\n\n    def {method}(self):\n        {body}\n\n    def fit(",
    )
    assert body in source
    return source


@pytest.mark.parametrize(("body", "says"), MADE_WRONGLY.values(), ids=MADE_WRONGLY)
def test_a_class_that_fails_when_it_is_made_is_a_usage_error_with_spec_and_plugin(
    install: Install, body: str, says: str
) -> None:
    source = mu_law(body)
    entry_point = install("acme-mu-law", source, name="mu-law")
    found = Plugins([entry_point])
    line = 1 + next(i for i, text in enumerate(source.splitlines()) if body in text)
    with pytest.raises(qcore.UsageError) as caught:
        found.create("scheme", "mu-law:mu=0")
    place = f"{entry_point.module}.py:{line}"
    assert str(caught.value) == f"'mu-law:mu=0' failed: {says.format(place=place)}"


@pytest.mark.parametrize("method", ["__str__", "__hash__"])
def test_so_is_one_that_cannot_be_written_or_hashed(install: Install, method: str) -> None:
    found = Plugins([install("acme", mu_law("raise RuntimeError('not today')", method))])
    with pytest.raises(qcore.UsageError, match="'mu-law' failed: RuntimeError: not today"):
        found.create("scheme", "mu-law")


def test_a_refusal_that_names_nobody_is_led_by_the_spec(install: Install) -> None:
    found = Plugins([install("acme", mu_law("raise qcore.UsageError('mu must be positive')"))])
    with pytest.raises(qcore.UsageError) as caught:
        found.create("scheme", "mu-law:mu=0")
    assert str(caught.value) == "'mu-law:mu=0': mu must be positive"


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_an_interrupt_is_no_failure_of_a_class(
    install: Install, error: type[BaseException]
) -> None:
    found = Plugins([install("acme", mu_law(f"raise {error.__name__}"))])
    with pytest.raises(error):
        found.create("scheme", "mu-law")


@pytest.mark.parametrize(
    ("requirement", "error"),
    [
        ("qcore-quant>=0.1,<0.2", None),
        ("qcore_quant", None),
        ("numpy>=99", None),
        ("qcore-quant>=7", "needs qcore-quant>=7, but 0.1.0 is installed"),
        ("Qcore.Quant<0.1", "needs qcore-quant<0.1, but 0.1.0 is installed"),
    ],
)
def test_a_plugin_for_another_version_of_qcore_is_left_out(
    install: Install, requirement: str, error: str | None
) -> None:
    entry_point = install("acme", scheme("ternary"), name="ternary", requires=requirement)
    assert record(Plugins([entry_point]), "ternary").error == error


def test_a_plugin_that_is_not_allowed_is_not_even_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_point = install("acme", "raise KeyboardInterrupt")
    monkeypatch.setenv("QCORE_PLUGINS", "symmetric,apot,uniform")
    assert "acme" not in [r.name for r in plugins().records]
    assert entry_point.module not in sys.modules


def test_the_plugins_of_a_process_are_loaded_once() -> None:
    assert plugins() is plugins()


def test_every_plugin_that_is_installed_here_is_healthy() -> None:
    assert [r for r in plugins().records if r.error] == []
    assert {*OWN, "qcore-quant"} <= {r.distribution for r in plugins().records}


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_class_fits_its_interface_and_explains_itself(kind: str) -> None:
    for id, entry in plugins().registry.entries[kind].items():
        check_class(kind, entry.cls)
        assert entry.cls.id == id
        assert inspect.cleandoc(vars(entry.cls)["__doc__"] or ""), id


def test_a_class_is_refused_by_an_error_of_the_tree() -> None:
    with pytest.raises(PluginError):
        check_class("scheme", int)
    assert issubclass(PluginError, qcore.QcoreError)
    assert issubclass(SpecError, qcore.UsageError)


# The package


def in_a_new_process(code: str, **env: str) -> Any:
    """What the code prints, as JSON, in a Python that has imported nothing yet."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=True, env={**os.environ, **env},
    )  # fmt: skip
    return json.loads(done.stdout)


def test_importing_qcore_loads_no_plugin_and_no_library() -> None:
    loaded = in_a_new_process("import qcore, sys, json; print(json.dumps(list(sys.modules)))")
    roots = {name.partition(".")[0] for name in loaded}
    unwanted = {"typer", "rich", "click", "pluggy", "ml_dtypes", "numpy"}
    unwanted |= {e.value.partition(":")[0].partition(".")[0] for e in ENTRIES}
    assert not roots & unwanted
    assert "qcore" in roots


def test_a_plugin_is_loaded_when_it_is_asked_for_and_brings_no_terminal_library() -> None:
    loaded = in_a_new_process(
        "import qcore, sys, json; qcore.Recipe('apot'); print(json.dumps(list(sys.modules)))"
    )
    roots = {name.partition(".")[0] for name in loaded}
    assert "qcore_apot" in roots
    assert not roots & {"typer", "rich", "click"}


def declared() -> dict[str, str]:
    """The public names and their homes, as the TYPE_CHECKING block has them."""
    tree = ast.parse(Path(qcore.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    names: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "a public name is re-exported as itself"
            assert node.module is not None
            names[alias.name] = node.module
    return names


def test_what_a_type_checker_sees_is_what_there_is() -> None:
    homes = {name: home for home, names in qcore._HOMES.items() for name in names}
    assert homes == declared()
    assert sum(map(len, qcore._HOMES.values())) == len(homes)


@pytest.mark.parametrize("name", declared())
def test_every_public_name_resolves_and_has_a_docstring(name: str) -> None:
    value = getattr(qcore, name)
    assert value is getattr(importlib.import_module(declared()[name]), name)
    assert name in dir(qcore)
    if inspect.isclass(value) or inspect.isroutine(value):
        doc = value.__doc__ or ""
        generated = dataclasses.is_dataclass(value) and doc.startswith(f"{value.__name__}(")
        assert doc.strip(), "no docstring"
        assert not generated, "a docstring that somebody wrote"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'qcore' has no attribute 'quantise'"):
        _ = qcore.quantise  # type: ignore[attr-defined]


def test_every_hook_is_documented_and_has_a_kind() -> None:
    hooks = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("qcore_")}
    assert sorted(hooks) == sorted(hook for hook, _ in KINDS.values())
    for name, spec in hooks.items():
        assert (spec.__doc__ or "").strip().endswith("."), name
        assert not inspect.signature(spec).parameters, "hooks take no argument"
        assert spec() == []
    for hook_name, interface in KINDS.values():
        assert interface.__name__ in str(inspect.signature(hooks[hook_name]).return_annotation)
