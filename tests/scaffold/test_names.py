"""What a new plugin is called follows from one word, and is nobody else's."""

from __future__ import annotations

import pytest

import qcore
from qcore.entry_points import OWN
from qcore.loading import PluginRecord, plugins
from qcore.registry import KINDS
from qcore.scaffold.names import Names, plugin_names


def refusal(name: str, kind: str = "scheme") -> str:
    with pytest.raises(qcore.UsageError) as caught:
        plugin_names(name, kind)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mean-scale", "qcore-mean-scale"])
def test_every_name_follows_from_the_id(name: str) -> None:
    names = plugin_names(name, "scale-format")
    assert names == Names("mean-scale", "scale_format")
    assert names.kind_words == "scale format"
    assert names.distribution == "qcore-mean-scale"
    assert names.module == "qcore_mean_scale"
    assert names.class_name == "MeanScaleScaleFormat"


@pytest.mark.parametrize("kind", [*KINDS, "scale-format"])
def test_every_kind_is_known(kind: str) -> None:
    assert plugin_names("x", kind).kind == kind.replace("-", "_")


@pytest.mark.parametrize("name", ["none", "quantizer", "any", "class"])
def test_a_class_is_never_called_like_another(name: str) -> None:
    assert plugin_names(name, "scheme").class_name == f"{name.capitalize()}Scheme"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Ternary", ", such as 'ternary'"),
        ("my_plugin 2", ", such as 'my-plugin-2'"),
        ("../../etc", ", such as 'etc'"),
        ("4-bit", ", such as 'bit'"),
        ("a--b", ", such as 'a-b'"),
        ("a-", ", such as 'a'"),
        ("ternary\n", ", such as 'ternary'"),
        ("", ""),
        ("qcore-", ""),
        ("32", ""),
        ("é", ""),
    ],
)
def test_what_is_no_name_is_refused_with_one_that_is(name: str, near: str) -> None:
    assert refusal(name) == (
        f"'{name}' is no name for a plugin: lower-case words joined by hyphens, "
        f"a letter first{near}"
    )


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    message = refusal("x", "scale-fromat")
    assert message.startswith("unknown kind 'scale-fromat', did you mean 'scale-format'?")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("apot", "scheme", "scheme 'apot' is given by plugin 'apot' already"),
        ("qcore-apot", "scheme", "scheme 'apot' is given by plugin 'apot' already"),
        ("half-even", "rounding", "rounding 'half-even' is given by plugin 'builtin' already"),
        ("pow2", "scale-format", "scale format 'pow2' is given by plugin 'builtin' already"),
        ("apot", "rounding", "a package 'qcore-apot' is installed already"),
        ("quant", "scheme", "a package 'qcore-quant' is installed already"),
        ("builtin", "scheme", "'builtin' is a word of qcore's own"),
        ("builtin", "observer", "'builtin' is a word of qcore's own"),
        ("int8-blas", "scheme", "'int8-blas' is a word of qcore's own"),
        ("float", "scheme", "'float' is a word of qcore's own"),
        ("keep", "rounding", "'keep' is a word of qcore's own"),
    ],
)
def test_a_name_that_is_taken_is_refused_with_whose_it_is(
    name: str, kind: str, message: str
) -> None:
    id = name.removeprefix("qcore-")
    assert refusal(name, kind) == f"{message}; take another name, such as 'my-{id}'"


def test_so_are_the_names_of_qcore_s_plugins_that_are_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QCORE_PLUGINS", "")
    monkeypatch.setitem(OWN, "qcore-new", "new")
    assert refusal("new").startswith("'new' is a word of qcore's own")


def test_the_name_of_another_plugin_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins(), "records", [PluginRecord("ternary", "acme", "1.0")])
    assert refusal("ternary").startswith("a plugin 'ternary' is installed already; take another")


@pytest.mark.parametrize(
    ("name", "kind", "class_name"),
    [
        ("my-rounding", "rounding", "MyRounding"),
        ("rounding", "rounding", "Rounding"),
        ("my-scale-format", "scale-format", "MyScaleFormat"),
        ("my-format", "scale-format", "MyFormatScaleFormat"),
        ("my-rounding", "scheme", "MyRoundingScheme"),
    ],
)
def test_a_class_is_not_called_by_its_kind_twice(name: str, kind: str, class_name: str) -> None:
    assert plugin_names(name, kind).class_name == class_name


def test_an_id_is_taken_in_its_own_kind_alone() -> None:
    assert plugin_names("half-even", "observer").id == "half-even"
