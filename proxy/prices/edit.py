"""Changes `[prices."NAME"]` in a configuration file and leaves everything else of it as it is, comments included.

The lines of the table's own keys are changed; its tiers and other sub-tables stay. The result has to read back as what was
asked for, or nothing is written.
"""

import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.core.errors import ConfigError

_HEADER = re.compile(r"^\s*\[")


def set_price(text: str, name: str, rates: Mapping[str, str]) -> str:
    """The configuration's text with these keys of `[prices."NAME"]` set. Raises ConfigError where its form is another."""
    lines = text.splitlines()
    start = _find(lines, name)
    if start is None:
        lines += ["", f"[prices.{_quoted(name)}]"] if lines else [f"[prices.{_quoted(name)}]"]
        start = len(lines) - 1
    end = _end(lines, start)
    for key, value in rates.items():
        line = f"{key} = {value if value in {'true', 'false'} else _quoted(value)}"
        known = next((at for at in range(start + 1, end) if re.match(rf"\s*{key}\s*=", lines[at])), None)
        if known is None:
            last = max((at for at in range(start, end) if lines[at].strip()), default=start)
            lines.insert(last + 1, line)
            end += 1
        else:
            comment = re.search(r"\s+#[^\"']*$", lines[known])
            lines[known] = line + (comment.group() if comment else "")
    changed = "\n".join(lines) + "\n"
    table = tomllib.loads(changed, parse_float=str).get("prices", {}).get(name, {})
    if any(str(table.get(key)).lower() != value for key, value in rates.items()):
        raise ConfigError(f'prices."{name}" is not written as a table of its own; change it by hand')
    return changed


def remove_price(text: str, name: str) -> str:
    """The text without `[prices."NAME"]` and what belongs to it. Raises ConfigError where there is no such table."""
    lines = text.splitlines()
    start = _find(lines, name)
    if start is None:
        raise ConfigError(f'there is no [prices."{name}"]')
    end = _end(lines, start)
    while end < len(lines) and _names(lines[end], name):
        end = _end(lines, end)
    changed = "\n".join([*lines[:start], *lines[end:]]).rstrip() + "\n"
    if name in tomllib.loads(changed, parse_float=str).get("prices", {}):
        raise ConfigError(f'prices."{name}" is written in more than one place; remove it by hand')
    return changed


def write(path: Path, text: str, check: Callable[[Path], object] | None = None) -> None:
    """Replaces the file at once, with the permissions that it has. Raises ConfigError.

    `check` is given the new file before it takes the old one's place (readable by its owner only: it may hold secrets);
    what it raises leaves the old one where it is.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ConfigError(f"cannot write beside {path}: {error.strerror}") from error
    fresh = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if check is not None:
            check(fresh)
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _find(lines: list[str], name: str) -> int | None:
    return next((at for at, line in enumerate(lines) if _table(line) in _spellings(name)), None)


def _end(lines: list[str], start: int) -> int:
    return next((at for at in range(start + 1, len(lines)) if _HEADER.match(lines[at])), len(lines))


def _names(line: str, name: str) -> bool:
    """Whether a header is of a table below this price: its tiers, its service tiers."""
    table = _table(line.replace("[[", "[").replace("]]", "]"))
    return table is not None and any(table.startswith(f"{spelling}.") for spelling in _spellings(name))


def _table(line: str) -> str | None:
    found = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
    return found.group(1).strip() if found else None


def _spellings(name: str) -> tuple[str, ...]:
    return (f"prices.{_quoted(name)}", f"prices.'{name}'", f"prices.{name}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
