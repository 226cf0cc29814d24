"""TOML files against a pydantic model; what does not fit is named with file, line and key.

``tomllib`` keeps no positions, so the lines are found by parsing the file a second time, one
statement after the other.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from pydantic_core import ErrorDetails

from sigmaquant.errors import ConfigError

ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)
Place = tuple[str | int, ...]


def load_toml(path: str | Path, model: type[ModelT]) -> ModelT:
    """Read a TOML file and check it against a model, strictly: no text for a number, no 1 for true.

    Raises:
        ConfigError: unreadable, not TOML, or not what the model asks for; one line a problem.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot read the file: {reason}") from error
    data = _parse(text, path)
    try:
        # Strict JSON is TOML's own view of types: keys are text, arrays have no Python type.
        return model.model_validate_json(json.dumps(data, default=str), strict=True)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False)
        raise ConfigError("\n".join(_describe(path, text, data, model, problems))) from error


def _parse(text: str, path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        reason = str(error).replace(found[0], f" at column {found[2]}") if found else str(error)
        raise ConfigError(f"{path}:{line}: not TOML: {reason}") from error


def _describe(
    path: str | Path,
    text: str,
    data: Mapping[str, Any],
    model: type[pydantic.BaseModel],
    problems: Sequence[ErrorDetails],
) -> list[str]:
    """One message for each place in the file that has a problem, in order of lines."""
    lines = _lines_by_place(text)
    reasons: dict[Place, dict[str, None]] = {}
    for problem in problems:
        place = _place_in_file(data, problem)
        reasons.setdefault(place, {})[_reason(problem, place, model)] = None
    located = sorted(
        ((_nearest_line(lines, place), "; or ".join(said)) for place, said in reasons.items()),
        key=lambda found: found[0] or 0,
    )
    return [f"{path}:{line}: {said}" if line else f"{path}: {said}" for line, said in located]


def _reason(problem: ErrorDetails, place: Place, model: type[pydantic.BaseModel]) -> str:
    loc = problem["loc"]
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model.model_json_schema(), loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        return f"unknown key {_dotted(place)!r}; {hint}"
    if problem["type"] in ("missing", "union_tag_not_found"):
        return f"missing key {_dotted(place)!r}"
    expected = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    where = f"{_dotted(place)}: " if place else ""
    if isinstance(problem["input"], dict | list):
        return f"{where}{expected}"
    return f"{where}{expected}, not {problem['input']!r}"


def _dotted(place: Place) -> str:
    """A place as people write it.

    >>> _dotted(("layers", 0, "bits"))
    'layers[0].bits'
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


def _place_in_file(data: Any, problem: ErrorDetails) -> Place:
    """Where in the file a problem is, or where the missing key would be.

    pydantic's location also has the names of union members and markers such as ``[key]``.
    """
    place: list[str | int] = []
    for part in problem["loc"]:
        inside_table = isinstance(data, dict) and part in data
        inside_array = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if inside_table or inside_array:
            data = data[part]
            place.append(part)
    if problem["type"] == "missing":
        place.append(problem["loc"][-1])
    elif problem["type"] == "union_tag_not_found":
        place.append(problem["ctx"]["discriminator"].strip("'"))
    return tuple(place)


def _nearest_line(lines: Mapping[Place, int], place: Place) -> int | None:
    """The line of the place, or of the innermost table or key around it."""
    prefixes = (place[:length] for length in range(len(place), 0, -1))
    return next((lines[prefix] for prefix in prefixes if prefix in lines), None)


def _lines_by_place(text: str) -> dict[Place, int]:
    """First line of every table and key of a valid TOML text."""
    lines: dict[Place, int] = {}
    table: Place = ()
    tables_in_array: dict[Place, int] = {}
    for number, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            names, is_array = _header(content)
            if is_array:
                array = (*_resolve(names[:-1], tables_in_array), names[-1])
                lines.setdefault(array, number)
                tables_in_array[array] = tables_in_array.get(array, 0) + 1
            for length in range(1, len(names)):
                lines.setdefault(_resolve(names[:length], tables_in_array), number)
            table = _resolve(names, tables_in_array)
            lines[table] = number
        else:
            for place in _places(content, table):
                lines.setdefault(place, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and key of a valid TOML text with its first line, comments left out.

    A value may go on over several lines: the statement ends where it first is TOML by itself.
    """
    pending = ""
    first = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not pending:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            first = number
        pending += f"{line}\n"
        try:
            tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        yield first, pending
        pending = ""


def _header(content: dict[str, Any]) -> tuple[list[str], bool]:
    """Names in a parsed ``[a.b]`` or ``[[a.b]]``, and whether it is the latter."""
    names: list[str] = []
    node: Any = content
    while isinstance(node, dict) and node:
        name, node = next(iter(node.items()))
        names.append(name)
    return names, isinstance(node, list)


def _resolve(names: Sequence[str], tables_in_array: Mapping[Place, int]) -> Place:
    """The place of a table: ``[a.b]`` after ``[[a]]`` lies in the latest table of ``a``."""
    place: Place = ()
    for name in names:
        place = (*place, name)
        if place in tables_in_array:
            place = (*place, tables_in_array[place] - 1)
    return place


def _places(content: Any, prefix: Place) -> Iterator[Place]:
    """The place of every key and array element in a parsed value."""
    children: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(content, dict):
        children = iter(content.items())
    elif isinstance(content, list):
        children = iter(enumerate(content))
    for key, child in children:
        yield (*prefix, key)
        yield from _places(child, (*prefix, key))


def _known_keys(schema: dict[str, Any], loc: Sequence[str | int]) -> tuple[str, ...]:
    """Keys that a model's JSON schema allows in the table at an error's location."""
    nodes = _alternatives(schema, schema)
    for part in loc:
        found = [child for node in nodes for child in _children(node, part)]
        if found:
            nodes = [node for child in found for node in _alternatives(child, schema)]
    return tuple(dict.fromkeys(key for node in nodes for key in node.get("properties", {})))


def _children(node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    """What a schema node says about one step down: a key, an index, or a union's tag."""
    tags = node.get("discriminator", {}).get("mapping", {})
    if part in tags:
        yield {"$ref": tags[part]}
    elif isinstance(part, int):
        if isinstance(node.get("items"), dict):
            yield node["items"]
    elif part in node.get("properties", {}):
        yield node["properties"][part]
    elif isinstance(node.get("additionalProperties"), dict):
        yield node["additionalProperties"]


def _alternatives(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A node with its reference followed, and the members of its union."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    members = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    return [node, *(found for member in members for found in _alternatives(member, schema))]
