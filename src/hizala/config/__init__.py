"""Settings and recipes: strict classes, schemas from signatures, YAML, `--set`, resolved dump, JSON Schema."""

from hizala.canonical import canonical, digest
from hizala.config.recipe import Recipe, RecipeSettings, Stage, load, loads, resolved
from hizala.config.schema import json_schema
from hizala.config.strict import FieldRow, Strict, combine, field_table, schema_of
from hizala.config.text import dump

__all__ = [
    "FieldRow",
    "Recipe",
    "RecipeSettings",
    "Stage",
    "Strict",
    "canonical",
    "combine",
    "digest",
    "dump",
    "field_table",
    "json_schema",
    "load",
    "loads",
    "resolved",
    "schema_of",
]
