"""What is wrong with a recipe, in words: where, what it must be, and what was found there."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_LIMITS = {
    "greater_than": ("gt", "must be greater than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "literal_error": ("expected", "must be {}"),
}
_TYPES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a finite number",
    "bool": "must be true or false",
    "string": "must be text in quotes",
    "tuple": "must be a list, such as [512]",
    "list": "must be a list, such as [512]",
    "dict": "must be a section",
    "model": "must be a section",
}


def problems_in_words(error: ValidationError, recipe: type[BaseModel]) -> str:
    """Return every problem that pydantic found in a recipe, one after the other.

    Parameters
    ----------
    error : ValidationError
    recipe : type of BaseModel
        The model that was validated; its sections are models themselves.
    """
    return "; ".join(_problem(item, recipe) for item in error.errors())


def _problem(item: Any, recipe: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{where} is missing"
    if item["type"] == "extra_forbidden":
        return f"{where} is not known{_hint(item['loc'], recipe)} (got {item['input']!r})"
    if item["type"] == "value_error":  # of our own validators: it says the rest itself
        return f"{where}: {item['ctx']['error']}" if where else str(item["ctx"]["error"])
    return f"{where} {_demand(item)} (got {item['input']!r})"


def _demand(item: Any) -> str:
    kind = item["type"]
    if kind in _LIMITS:
        limit, words = _LIMITS[kind]
        bound = item["ctx"][limit]
        return words.format(f"{bound:g}" if isinstance(bound, float) else bound)
    known = (words for start, words in _TYPES.items() if kind == start or kind.startswith(f"{start}_"))
    return next(known, f"is wrong: {item['msg']}")


def _hint(loc: tuple[int | str, ...], recipe: type[BaseModel]) -> str:
    """Return what a key that is not known may be meant for: a near name in its section, or its place in another."""
    *path, key = (str(part) for part in loc)
    near = difflib.get_close_matches(key, _keys(recipe, path), n=1)
    if near:
        return f", did you mean {near[0]}?"
    homes = [name for name in recipe.model_fields if key in _keys(recipe, [name])]
    return f", it belongs in [{homes[0]}]" if homes else ""


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Return the keys of the section at `path`; none where that is no section."""
    for name in path:
        kind = model.model_fields[name].annotation if name in model.model_fields else None
        sections = [each for each in (kind, *get_args(kind)) if isinstance(each, type) and issubclass(each, BaseModel)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)
