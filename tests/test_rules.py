"""Rules: the first that matches a name counts; what is none is one line that says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qcore import ReadError, Recipe, Rule, SpecError, UnknownIdError, UsageError
from qcore.rules import first_match, read_rules

NAMES = ["lm_head.weight", "model.layers.0.attn.q.weight", "model.layers.10.mlp.weight", "norm"]


def test_the_first_rule_that_matches_a_name_counts() -> None:
    rules = [
        Rule.parse(r"layers\.0\.=keep"),
        Rule.parse("layers=symmetric bits=4 granularity=group:32"),
        Rule.parse("^lm_head=symmetric bits=8"),
        Rule.parse("attn=symmetric bits=2"),
    ]
    found = [first_match(rules, name) for name in NAMES]
    assert found == [rules[2], rules[0], rules[1], None]
    assert rules[0].recipe is None
    assert rules[1].recipe == Recipe.parse("symmetric bits=4 granularity=group:32")


def test_a_pattern_matches_somewhere_and_the_empty_one_always() -> None:
    assert [Rule.parse("attn=keep").matches(name) for name in NAMES] == [False, True, False, False]
    assert all(Rule.parse("=keep").matches(name) for name in [*NAMES, "", "a\nb"])
    assert Rule.parse("^a$=keep").matches("a")
    assert not Rule.parse("^a$=keep").matches("ab")


def test_a_rule_ends_its_pattern_at_the_first_equals_sign() -> None:
    rule = Rule.parse("a=symmetric bits=4")
    assert (rule.pattern, str(rule.recipe)) == ("a", "symmetric bits=4")
    assert Rule.parse("a= keep ").recipe is None


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("lm_head", UsageError, "'lm_head' is no rule; write it as PATTERN=RECIPE"),
        ("", UsageError, "'' is no rule; write it as PATTERN=RECIPE"),
        ("a=", SpecError, "rule 'a': empty recipe; write it as: scheme bits=N granularity=…"),
        ("a=symetric", UnknownIdError,
         "rule 'a': unknown scheme 'symetric', did you mean 'symmetric'?; installed: "),
        ("a=symmetric bit=4", SpecError, "rule 'a': 'bit=4' in recipe 'symmetric bit=4' is no"),
        ("a=symmetric bits=99", UsageError, "rule 'a': 'symmetric' has 2 to 16 bits, not 99"),
        ("a=keep bits=4", UnknownIdError, "rule 'a': unknown scheme 'keep'"),
        ("(=keep", UsageError,
         "rule '(': '(' is no regular expression: missing ), unterminated subpattern"),
        ("*a=keep", UsageError, "rule '*a': '*a' is no regular expression: nothing to repeat"),
        ("a{99999999999}=keep", UsageError,
         "rule 'a{99999999999}': 'a{99999999999}' is no regular expression: the repetition number"),
        ("(" * 5000 + ")" * 5000 + "=keep", UsageError, "rule '((("),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)  # fmt: skip
def test_what_is_no_rule_is_one_line(text: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(says)}") as caught:
        Rule.parse(text)
    assert isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)


# --- files ----------------------------------------------------------------------------------------


def rules_of(tmp_path: Path, text: str) -> list[Rule]:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


def test_a_file_has_rules_in_its_order(tmp_path: Path) -> None:
    found = rules_of(
        tmp_path,
        """
        [rules]
        'layers\\.0\\.' = "keep"  # as it is
        "a=b" = "symmetric bits=8"
        "it's" = 'keep'
        norm = "keep"
        """,
    )
    assert [(rule.pattern, rule.recipe and str(rule.recipe)) for rule in found] == [
        (r"layers\.0\.", None), ("a=b", "symmetric bits=8"), ("it's", None), ("norm", None),
    ]  # fmt: skip
    assert rules_of(tmp_path, "[rules]\n") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold a table [rules] and nothing else: 'PATTERN' = 'RECIPE'"),
        ("'a' = 'keep'", "must hold a table [rules] and nothing else: 'PATTERN' = 'RECIPE'"),
        ("rules = ['a']", "must hold a table [rules] and nothing else: 'PATTERN' = 'RECIPE'"),
        ("[rules]\n[more]", "must hold a table [rules] and nothing else: 'PATTERN' = 'RECIPE'"),
        ("[rules]\na = 4",
         "rule 'a' must be a recipe in quotes, or 'keep'; a pattern with dots is in quotes, too"),
        ("[rules]\nlm_head.weight = 'keep'", "rule 'lm_head' must be a recipe in quotes"),
        ("[rules]\na = 'symetric'", "rule 'a': unknown scheme 'symetric', did you mean"),
        ("[rules]\n'(' = 'keep'", "rule '(': '(' is no regular expression: missing )"),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_wrong_usage_in_one_line(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        rules_of(tmp_path, text)
    message = str(caught.value).removeprefix(f"'{tmp_path / 'rules.toml'}'").lstrip(": ")
    assert message.startswith(says)
    assert "\n" not in message


@pytest.mark.parametrize(
    "content",
    [
        b"[rules]\na = ", b"[rules", b"\xff\xfe", b"\0", b"[rules]\n'a' = 'keep'\n'a' = 'keep'",
        b"a = " + b"[" * 10_000,
    ],
)  # fmt: skip
def test_a_file_that_is_no_toml_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=f"^'{re.escape(str(path))}' is no TOML: [^\n]+$"):
        read_rules(path)


def test_nor_can_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"absent' cannot be read: No such file or directory$"):
        read_rules(tmp_path / "absent")
    with pytest.raises(ReadError, match=r"cannot be read: Is a directory$"):
        read_rules(tmp_path)


def test_the_rules_of_the_documentation_are_rules(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent / "docs" / "files.md"
    (text,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    found = rules_of(tmp_path, text)
    assert first_match(found, "lm_head.weight") == found[0]
    assert first_match(found, "model.layers.3.attn.q.weight") == found[1]
    assert first_match(found, "model.layers.3.mlp.weight") == found[2]
    assert first_match(found, "model.norm") is None
