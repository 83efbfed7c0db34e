"""A YAML file as nodes that remember their line, so that every error can name it.

Scalars stay texts: one parser then serves the file, the environment and the command line. Imports
PyYAML only when there is a file to read, and only errors of the project.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wtgateway.errors import ConfigError

if TYPE_CHECKING:
    import yaml

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as it was written. ``where`` is "file:line", a flag or a variable; ``key`` is dotted."""

    where: str
    key: str
    text: str
    is_null: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping; its entries are read on demand, so no alias or nesting can blow it up."""

    where: str
    key: str
    file: str
    pairs: tuple[tuple[yaml.Node, yaml.Node], ...] = ()

    def items(self) -> Iterator[tuple[str, Text | Section]]:
        """Keys and values in the order of the file. Raises :exc:`ConfigError` for a key given twice."""
        for name, _, key, node in self._entries():
            yield name, node_value(node, self.file, key)

    def items_with_lists(self, *lists: str) -> Iterator[tuple[str, Text | Section | Listing]]:
        """The same, where the keys named may be lists."""
        for name, where, key, node in self._entries():
            if name in lists and getattr(node, "id", "") == "sequence":
                yield name, Listing(where, key, self.file, tuple(node.value))
            else:
                yield name, node_value(node, self.file, key)

    def _entries(self) -> Iterator[tuple[str, str, str, yaml.Node]]:
        seen: dict[str, str] = {}
        for key_node, value_node in self.pairs:
            name = getattr(key_node, "value", None)
            where = f"{self.file}:{key_node.start_mark.line + 1}"
            if not isinstance(name, str):
                raise ConfigError(where, self.key, "a key that is no text", "a plain word as key")
            key = f"{self.key}.{name}" if self.key else name
            if name in seen:
                raise ConfigError(where, key, name, f"each key once (first given at {seen[name]})")
            seen[name] = where
            yield name, where, key, value_node


@dataclass(frozen=True, slots=True)
class Listing:
    """A list; its entries are read on demand."""

    where: str
    key: str
    file: str
    nodes: tuple[yaml.Node, ...] = ()

    def items(self) -> Iterator[Text | Section]:
        """The entries in the order of the file. Raises :exc:`ConfigError` for a list in the list."""
        for index, node in enumerate(self.nodes):
            yield node_value(node, self.file, f"{self.key}[{index}]")


def node_value(node: yaml.Node, file: str, key: str) -> Text | Section:
    """One node as :class:`Text` or :class:`Section`. Raises :exc:`ConfigError` for a list."""
    where = f"{file}:{node.start_mark.line + 1}"
    kind = getattr(node, "id", "")  # types-PyYAML does not know it
    if kind == "mapping":
        return Section(where, key, file, tuple(node.value))
    if kind == "scalar":
        return Text(where, key, str(node.value), is_null=node.tag.endswith(":null"))
    is_address = key.rpartition(".")[2] in ("bind", "web", "listen", "address")
    hint = "; put quotes around an address that begins with [" if is_address else ""
    raise ConfigError(where, key, "a list", f"a single value or a mapping{hint}")


def parsed(given: Text | Section, parse: Callable[[str], Any]) -> Any:
    """Parse a value where it was written. Raises :exc:`ConfigError` that names the place."""
    if isinstance(given, Section):
        raise ConfigError(given.where, given.key, "a mapping", "a single value")
    try:
        return parse(given.text)
    except ConfigError as error:
        raise ConfigError(given.where, given.key, given.text, error.expected) from None


def read_document(path: Path) -> Section:
    """The root mapping of a YAML file. Raises :exc:`ConfigError` when it cannot be read or is no mapping."""
    import yaml  # 15 ms that a start without a file need not pay

    file = str(path)
    try:
        # not CSafeLoader: libyaml overruns the C stack on deep nesting, this one raises RecursionError
        node = yaml.compose(_read_text(path), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _syntax_error(file, error) from None
    except RecursionError:
        raise ConfigError(file, "", "nested too deeply", "a YAML mapping of a few levels") from None
    if node is None:
        return Section(file, "", file)
    root = node_value(node, file, "")
    if isinstance(root, Text) and root.is_null:
        return Section(file, "", file)
    if isinstance(root, Text):
        raise ConfigError(root.where, "", root.text, "a YAML mapping such as 'broadcasts: {...}'")
    return root


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), "", error.strerror, "a file that can be read") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(str(path), "", f"over {MAX_FILE_BYTES} bytes", "a configuration of at most 1 MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "", f"byte {error.start} is not UTF-8", "a text file in UTF-8") from None


def _syntax_error(file: str, error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    where = f"{file}:{mark.line + 1}" if mark is not None else file
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    hint = "valid YAML; a value that begins with '[' or ends with ':' needs quotes: '[::]:4433', 'test:'"
    return ConfigError(where, "", problem, hint)


def unknown_key(where: str, key: str, name: str, known: Collection[str]) -> ConfigError:
    """The error for a key that is not in ``known``, with the nearest one as suggestion."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    words = "one of " + ", ".join(sorted(known))
    return ConfigError(where, key, name, f"{near[0]!r}? ({words})" if near else words)
