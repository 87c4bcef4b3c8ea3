"""Settings classes: from signatures, combined, and as tables of help."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from hizala.config import FieldRow, Strict, combine, field_table, schema_of
from hizala.config.strict import argument_help
from hizala.errors import RegistryError
from hizala.registry import Bound


def sample(
    policy: object, *, beta: Annotated[float, Bound(gt=0)] = 0.1, order: int, kind: Literal["a", "b"] = "a"
) -> None:
    """A loss.

    h = beta

    Args:
        policy: what is measured,
            in two lines.
        beta: per nat.
            Larger holds nearer: see below.
        order, kind: both.
    Returns:
        beta: not this.
    """


def test_a_signature_gives_types_bounds_defaults_and_help() -> None:
    assert field_table(schema_of(sample)) == [
        FieldRow("beta", "number", "0.1", "> 0", "per nat. Larger holds nearer: see below."),
        FieldRow("order", "integer", "", "", "both."),
        FieldRow("kind", "one of a, b", "a", "", "both."),
    ]


def test_a_signature_is_made_into_one_class_only() -> None:
    assert schema_of(sample) is schema_of(sample)


@pytest.mark.parametrize(
    "values",
    [
        {"order": 1, "beta": 0},
        {"order": 1, "beta": float("inf")},
        {"order": 1, "beta": True},
        {"order": 1, "beta": "0.1"},
        {"order": 1.0},
        {"order": True},
        {"order": 1, "kind": "c"},
        {"order": 1, "gamma": 1},
        {},
    ],
)
def test_a_wrong_value_is_refused_in_python_too(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        schema_of(sample)(**values)


def test_settings_cannot_be_changed() -> None:
    settings = schema_of(sample)(order=1)
    with pytest.raises(ValidationError):
        settings.order = 2  # type: ignore[attr-defined]


def test_a_parameter_without_help_or_type_is_refused() -> None:
    def no_help(*, beta: float = 0.1) -> None:
        """A loss."""

    def no_type(*, beta=0.1) -> None:  # type: ignore[no-untyped-def]
        """A loss.

        Args:
            beta: x.
        """

    with pytest.raises(RegistryError, match=r"'beta' of .*no_help has no entry under `Args:`"):
        schema_of(no_help)
    with pytest.raises(RegistryError, match="has no annotation"):
        schema_of(no_type)


def test_help_ends_with_its_section() -> None:
    assert argument_help(sample.__doc__.replace("\n    ", "\n")) == {  # type: ignore[union-attr]
        "policy": "what is measured, in two lines.",
        "beta": "per nat. Larger holds nearer: see below.",
        "order": "both.",
        "kind": "both.",
    }


class Inner(Strict):
    rank: int = Field(8, ge=1, le=64)
    """rank of the update"""


class Base(Strict):
    data: str
    """what to train on"""
    rate: Annotated[float, Bound(gt=0, lt=1)] = 0.5
    """step size"""
    clip: Annotated[float | None, Bound(ge=0)] = None
    """largest norm"""
    inner: Inner | None = None
    """adapters"""
    names: tuple[str, ...] = ("a", "b")
    """names"""

    @model_validator(mode="after")
    def _sane(self) -> Base:
        if self.data == "bad":
            raise ValueError("bad data")
        return self


def test_a_table_shows_nested_settings_under_dotted_names() -> None:
    assert field_table(Base) == [
        FieldRow("data", "text", "", "", "what to train on"),
        FieldRow("rate", "number", "0.5", "> 0, < 1", "step size"),
        FieldRow("clip", "number or null", "null", ">= 0", "largest norm"),
        FieldRow("inner", "settings or null", "null", "", "adapters"),
        FieldRow("inner.rank", "integer", "8", ">= 1, <= 64", "rank of the update"),
        FieldRow("names", "list of text", "[a, b]", "", "names"),
    ]


def test_combined_settings_keep_order_bounds_help_and_checks() -> None:
    both = combine("Both", Base, schema_of(sample), defaults={"rate": 0.25, "order": 3})
    rows = {row.name: row for row in field_table(both)}
    assert list(rows) == ["data", "rate", "clip", "inner", "inner.rank", "names", "beta", "order", "kind"]
    assert rows["rate"] == FieldRow("rate", "number", "0.25", "> 0, < 1", "step size")
    assert rows["order"].default == "3"
    with pytest.raises(ValidationError):
        both(data="x", rate=1.0)
    with pytest.raises(ValidationError, match="bad data"):
        both(data="bad")
    with pytest.raises(ValidationError):
        both(data="x", clip=-1.0)


def test_parts_that_clash_and_defaults_without_a_field_are_refused() -> None:
    with pytest.raises(RegistryError, match="'rank' is in Inner and Other"):
        combine("Both", Inner, type("Other", (Inner,), {}))
    with pytest.raises(RegistryError, match="unknown field 'rnk'"):
        combine("Both", Inner, defaults={"rnk": 1})
