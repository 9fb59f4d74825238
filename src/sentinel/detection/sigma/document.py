"""YAML text -> mappings that know their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import yaml

from sentinel.errors import RuleError

__all__ = ["LocatedError", "Map", "documents"]

# A document marker stands in column 0 and nowhere else, so the text can be cut before it is parsed: a syntax error in
# one document then leaves its neighbours alone.
_MARKER = re.compile(r"^---(?=\s|$)", re.MULTILINE)


class LocatedError(RuleError):
    """A rule can't be used; `line` counts from 1 in its file."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason, where=f"line {line}")
        self.line = line


class Map(dict[str, Any]):
    """A YAML mapping with text keys; `lines` says where each key stands, `line` where the mapping begins."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def error(self, key: str, reason: str) -> LocatedError:
        """Return the error for what stands at `key`."""
        return LocatedError(reason, self.lines.get(key, self.line))


def documents(text: str) -> Iterator[Map | LocatedError]:
    """Return each document of a file that is not empty, or why it can't be read."""
    cuts = [0, *(match.start() for match in _MARKER.finditer(text)), len(text)]
    for start, end in pairwise(cuts):
        offset = text.count("\n", 0, start)
        content = _parse(_MARKER.sub("   ", text[start:end], count=1), offset)
        if content is not None:
            yield content


def _parse(text: str, offset: int) -> Map | LocatedError | None:
    loader = _Loader(text)
    loader.offset = offset
    try:
        content = loader.get_single_data()
    except LocatedError as err:
        return err
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line if err.problem_mark else 0
        return LocatedError(f"not YAML: {err.problem}", offset + line + 1)
    except (yaml.YAMLError, RecursionError, ValueError) as err:  # too deep, a number too long
        return LocatedError(f"not YAML: {type(err).__name__}", offset + 1)
    finally:
        loader.dispose()
    if content is None or isinstance(content, Map):
        return content
    return LocatedError("a rule is a mapping of keys and values", offset + 1)


class _Loader(yaml.CSafeLoader):
    """
    The core types of YAML 1.2 only.

    YAML 1.1 turns `no`, `010`, `0x1F`, `1:30` and dates into other values; a rule means the text that it shows.
    """

    offset = 0


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> Map:
    found = Map(loader.offset + node.start_mark.line + 1)
    for key_node, value_node in node.value:
        key, line = key_node.value, loader.offset + key_node.start_mark.line + 1
        if not isinstance(key, str) or key == "<<":
            raise LocatedError("a key must be text, and merge keys (<<) are not supported", line)
        if key in found:
            raise LocatedError(f"{key!r} stands here twice", line)
        found.lines[key] = line
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.yaml_constructors, _Loader.yaml_implicit_resolvers = {}, {}  # instead of those of YAML 1.1
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
for _tag in ("null", "bool", "int", "float", "str", "seq"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", getattr(yaml.SafeLoader, f"construct_yaml_{_tag}"))
_Loader.yaml_constructors[None] = yaml.SafeLoader.construct_undefined
for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
