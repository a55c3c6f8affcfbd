"""Tensors are named by the keys that lead to them, and there is an end to the names."""

from __future__ import annotations

from typing import Any

import pytest

from qcore.builtin.readers.torch_globals import OPAQUE, Pairs, Tensor
from qcore.builtin.readers.torch_names import named_tensors
from qcore.builtin.readers.torch_pickle import Budget, Refused

TENSORS = [Tensor("float32", (n,)) for n in range(9)]
A, B, C = TENSORS[:3]


def named(root: Any, nbytes: int = 1 << 22) -> dict[str, Tensor]:
    return dict(named_tensors(root, "stem", Budget(nbytes)))


def pairs(**values: Any) -> Pairs:
    return Pairs([part for item in values.items() for part in item])


def refusal(root: Any, nbytes: int = 1 << 22) -> str:
    with pytest.raises(Refused) as caught:
        named(root, nbytes)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("root", "names"),
    [
        (A, {"stem": A}),
        ([A, B], {"0": A, "1": B}),
        ((A, [B, (C,)]), {"0": A, "1.0": B, "1.1.0": C}),
        (pairs(model=pairs(fc=pairs(weight=A)), ema=B), {"model.fc.weight": A, "ema": B}),
        (Pairs([0, A, "", B, None, C]), {"0": A, "": B, "None": C}),
        (Pairs([True, A, 0.5, pairs(x=B), "größe\n", C]), {"True": A, "0.5.x": B, "größe\n": C}),
        (pairs(state=Pairs([3, pairs(step=A)])), {"state.3.step": A}),
        (Pairs([OPAQUE, 1, (1, 2), [2, "x"], "w", A, A, None]), {"w": A}),
        ([[], (), Pairs(), None, 1.5, "text", OPAQUE], {}),
        (None, {}),
        ([A, A], {"0": A, "1": A}),
    ],
)
def test_names_are_the_keys_joined_by_dots(root: Any, names: dict[str, Tensor]) -> None:
    assert named(root) == names
    assert list(named(root)) == list(names)


def test_two_tensors_of_one_name_are_refused() -> None:
    root = Pairs(["a", pairs(b=A), "a.b", B])
    assert refusal(root).startswith("two of its tensors would be named 'a.b'; save its tensors")
    assert "'1'" in refusal(Pairs([1, A, "1", A]))


@pytest.mark.parametrize("key", [OPAQUE, (1, 2), A, [1], Pairs()])
@pytest.mark.parametrize("value", [A, [A]])
def test_a_key_that_is_no_text_names_no_tensor(key: Any, value: Any) -> None:
    message = refusal(Pairs([key, value]))
    assert message.startswith("a tensor in it has a key that is neither text nor a number; save")


def test_half_a_character_names_no_tensor() -> None:
    message = refusal(Pairs(["\ud800", A]))
    assert message.startswith(r"a tensor in it has the key '\ud800', which holds half a character")
    assert len(refusal(Pairs(["\ud800" * 9999, A]))) < 3000
    assert named(Pairs(["\ud800", 1])) == {}


def test_what_holds_itself_is_refused() -> None:
    root: list[Any] = [A]
    root.append(root)
    assert refusal(root).startswith("it holds more than 786432 values, or deeper than 100; save")
    root.append(root)
    assert "deeper than 100" in refusal(root)


def test_what_is_shared_is_visited_no_more_than_so_often() -> None:
    root: list[Any] = []
    for _ in range(60):
        root = [root, root]
    assert "more than 786432 values" in refusal(root)


def test_names_together_are_no_longer_than_the_budget() -> None:
    root: Any = [A] * 1000
    for _ in range(50):
        root = Pairs(["x" * 1000, root])
    assert refusal(root, 1 << 20).startswith("it holds more objects than qcore reads of one file")
