"""The registry: one name, one entry; plugins; what a loss may ask for; stages."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from hizala import registry
from hizala.errors import ConfigError, RegistryError
from hizala.registry import Bound, Registry, StageSpec, loss


def test_a_name_is_taken_once() -> None:
    found: Registry[int] = Registry("thing")
    found.add("a", 1)
    with pytest.raises(RegistryError, match="thing 'a' is already registered"):
        found.add("a", 2)
    assert found.get("a") == 1


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    found: Registry[int] = Registry("thing")
    found.add("alpha", 1)
    found.add("beta", 2)
    with pytest.raises(ConfigError, match="unknown thing 'aplha', did you mean 'alpha'") as caught:
        found.get("aplha")
    assert caught.value.fix == "known: alpha, beta"


def test_names_and_entries_come_sorted() -> None:
    found: Registry[int] = Registry("thing")
    for name, value in (("b", 2), ("a", 1)):
        found.add(name, value)
    assert found.names() == ("a", "b")
    assert list(found) == [1, 2]
    assert "a" in found
    assert "c" not in found


def test_third_parties_add_entries_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Registry[str] = Registry("thing")
    asked: list[str] = []

    class Point(EntryPoint):
        def load(self) -> object:
            return found.add(self.name, self.value)

    def points(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [Point("theirs", "module:object", group)]

    monkeypatch.setattr(registry, "entry_points", points)
    assert found.get("theirs") == "module:object"
    assert found.names() == ("theirs",)
    assert asked == ["hizala.thing"]  # looked for once, when first needed


def test_a_loss_may_ask_only_for_what_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "losses", Registry("loss"))

    def wrong(polic: object, *, beta: float = 0.1) -> None: ...

    with pytest.raises(RegistryError, match="asks for 'polic', did you mean 'policy'"):
        loss("wrong", data="pair", source="none")(wrong)
    with pytest.raises(RegistryError, match="unknown data shape 'pairs', did you mean 'pair'"):
        loss("wrong", data="pairs", source="none")

    @loss("right", data="pair", source="none")
    def right(policy: object, reference: object, *, beta: float = 0.1) -> None: ...

    assert registry.losses.get("right").measures == ("policy", "reference")


@pytest.mark.parametrize(
    ("bound", "good", "bad"),
    [
        (Bound(gt=0), [0.1], [0, -1]),
        (Bound(ge=0, lt=0.5), [0, 0.49], [-0.1, 0.5]),
        (Bound(le=1), [1, -5], [1.1]),
    ],
)
def test_a_bound_holds_wherever_pydantic_reads_it(bound: Bound, good: list[float], bad: list[float]) -> None:
    adapter = TypeAdapter(Annotated[float, bound])
    assert [adapter.validate_python(value) for value in good] == good
    for value in bad:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


def test_a_stage_is_imported_when_it_starts() -> None:
    assert StageSpec("x", dict, "json:dumps", "").load()({"a": 1}) == '{"a": 1}'
    assert StageSpec("x", dict, len, "").load() is len
