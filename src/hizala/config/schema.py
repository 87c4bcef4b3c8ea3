"""JSON Schema of recipes, for editors."""

from __future__ import annotations

from typing import Any

from hizala.config.recipe import STAGE_NAME, RecipeSettings
from hizala.config.strict import Strict
from hizala.registry import StageSpec, stages

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a recipe with every registered stage: types, bounds, defaults and help."""
    definitions: dict[str, Any] = {}
    head = _model_schema(RecipeSettings, "recipe", definitions)
    choices = [_stage_schema(spec, definitions) for spec in stages]
    head["properties"]["stages"] = {
        "type": "array",
        "minItems": 1,
        "description": "what to do, in order; each stage reads what the ones before it made",
        "items": {"oneOf": choices},
    }
    head["required"] = [*head.get("required", []), "stages"]
    head.update({"$schema": DRAFT, "title": "Hizala recipe"})
    return {**head, "$defs": definitions} if definitions else head


def _stage_schema(spec: StageSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    settings = _model_schema(spec.config, spec.name, definitions)
    name = {
        "type": "string",
        "pattern": f"^{STAGE_NAME.pattern}$",
        "default": spec.name,
        "description": "name of the stage in this recipe; needed when its kind stands twice",
    }
    settings["properties"] = {"name": name, **settings.get("properties", {})}
    body: dict[str, Any] = settings if settings.get("required") else {"anyOf": [settings, {"type": "null"}]}
    return {
        "type": "object",
        "title": spec.name,
        "description": spec.summary,
        "properties": {spec.name: body},
        "required": [spec.name],
        "additionalProperties": False,
    }


def _model_schema(model: type[Strict], owner: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Schema of a settings class; its inner classes go to `definitions` under names of their own."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{owner}.{{model}}")
    for name, inner in schema.pop("$defs", {}).items():
        definitions[f"{owner}.{name}"] = inner
    return schema
