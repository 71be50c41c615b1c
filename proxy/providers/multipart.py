"""multipart/form-data, read in place: the metered fields, and how large the files are. No part is copied but small fields.

RFC 7578 and RFC 2046, section 5.1, strictly: what two readers could understand in two ways is refused, for the provider's
reader might then be told another model, or another number of images, than was held for. Bounds: `MAX_PARTS` parts, 4 KiB of
headers for a part, 1 KiB for a metered field. All refusals are InvalidRequest with the field's name, and never quote a value.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from proxy.core.errors import InvalidRequest

MAX_PARTS = 256
_MAX_HEADERS_BYTES = 4096
_MAX_FIELD_BYTES = 1024

# RFC 2046: 1 to 70 of these, not ending with a space; no SDK sends spaces.
_BOUNDARY = re.compile(
    rb"multipart/form-data\s*;(?:[^\"]*;)?\s*boundary=(?:\"([\w'()+,\-./:=?]{1,70})\"|([\w'()+,\-./:=?]{1,70}))\s*(?:;[^\"]*)?",
    re.IGNORECASE,
)
# A second one, in any spelling (RFC 2231's too), would be another reader's boundary.
_BOUNDARY_AGAIN = re.compile(rb"boundary[*0-9]*\s*=", re.IGNORECASE)
_FILE_NAME = re.compile(rb";\s*filename\*?\s*=", re.IGNORECASE)
_NAME = re.compile(
    rb"form-data\s*;\s*name=(?:\"([^\"\\\r\n]{1,256})\"|([^\s\";\\]{1,256}))\s*(?:;.*)?", re.IGNORECASE | re.DOTALL
)
_NAME_AGAIN = re.compile(rb";\s*name\*?\s*=", re.IGNORECASE)


class Field(msgspec.Struct, frozen=True, gc=False):
    """A metered field: its text, and where in the body that stands."""

    text: str
    start: int
    end: int


class File(msgspec.Struct, frozen=True, gc=False):
    """A file: the name of its field, and where in the body its bytes are."""

    name: str
    start: int
    end: int

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.end - self.start


class Form(msgspec.Struct, frozen=True, gc=False):
    """A form: its metered fields by name, its files, and how many bytes everything has that is no file."""

    fields: Mapping[str, Field]
    files: tuple[File, ...]
    text_bytes: int

    def text(self, name: str) -> str | None:
        """A metered field; None where it is absent."""
        field = self.fields.get(name)
        return None if field is None else field.text

    def required(self, name: str) -> str:
        """A metered field that must be there."""
        text = self.text(name)
        if not text:
            raise InvalidRequest(f"The field `{name}` is required.", param=name)
        return text

    def switch(self, name: str) -> bool:
        """A field that is true or false, as form encoders write it; absent and empty are false."""
        text = (self.text(name) or "false").lower()
        if text not in {"true", "false", "1", "0"}:
            raise InvalidRequest(f"`{name}` must be true or false.", param=name)
        return text in {"true", "1"}

    def count(self, name: str, least: int, most: int) -> int | None:
        """An integer field within bounds; None where it is absent or empty."""
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise InvalidRequest(f"`{name}` must be an integer from {least} to {most}.", param=name)
        return int(text)


def is_multipart(content_type: bytes) -> bool:
    """Whether a request is a form."""
    return content_type[:19].lower() == b"multipart/form-data"


def read_form(body: bytes, content_type: bytes, metered: Iterable[str]) -> Form:
    """The metered fields of a form. Raises InvalidRequest for what is malformed, given twice or ambiguous.

    `content_type` is the request's as it came: a boundary knows upper and lower case.
    """
    match = _BOUNDARY.fullmatch(content_type.strip())
    if match is None or len(_BOUNDARY_AGAIN.findall(content_type)) != 1:
        raise InvalidRequest("The content type must be multipart/form-data with one boundary.", param="content-type")
    names = frozenset(metered)
    fields: dict[str, Field] = {}
    files: list[File] = []
    for headers, start, end in _parts(body, b"--" + (match[1] or match[2])):
        name, is_file = _read_headers(headers)
        if name.casefold() not in names:
            if is_file:
                files.append(File(name, start, end))
            continue
        if name in fields or is_file or name not in names:
            raise InvalidRequest(f"`{name.casefold()}` must be given once, as a plain field.", param=name.casefold())
        fields[name] = _read_field(body, name, headers, start, end)
    return Form(fields, tuple(files), len(body) - sum(file.size for file in files))


def with_field(body: bytes, field: Field, text: str) -> bytes:
    """The body with another text in one field, everything else as it was."""
    return b"".join((memoryview(body)[: field.start], text.encode(), memoryview(body)[field.end :]))


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Every part as (its headers, start and end of its content). Nothing may stand before the first or behind the last."""
    if not body.startswith(delimiter + b"\r\n"):
        raise _malformed()
    at = len(delimiter) + 2
    inner = b"\r\n" + delimiter
    for _ in range(MAX_PARTS):
        blank = at - 2 if body.startswith(b"\r\n", at) else body.find(b"\r\n\r\n", at, at + _MAX_HEADERS_BYTES)
        if blank < 0:
            raise _malformed()
        start = blank + 4
        end = body.find(inner, start)
        if end < 0:
            raise _malformed()
        yield body[at:blank] if blank > at else b"", start, end
        at = end + len(inner)
        if body.startswith(b"--", at):
            if len(body) != at + 2 and not (len(body) == at + 4 and body.endswith(b"\r\n")):
                raise _malformed()
            return
        if not body.startswith(b"\r\n", at):
            raise _malformed()  # a line that begins like the boundary: some readers would stop there
        at += 2
    raise InvalidRequest(f"The form must have at most {MAX_PARTS} parts.")


def _read_headers(headers: bytes) -> tuple[str, bool]:
    """The field's name, and whether it is a file."""
    dispositions = []
    for line in headers.split(b"\r\n"):
        header, colon, value = line.partition(b":")
        if not colon or header != header.strip() or b"\n" in line or b"\r" in line:
            raise _malformed()
        if header.lower() == b"content-disposition":
            dispositions.append(value.strip())
    match = _NAME.fullmatch(dispositions[0]) if len(dispositions) == 1 else None
    if match is None or len(_NAME_AGAIN.findall(dispositions[0])) != 1:
        raise _malformed()
    try:
        name = (match[1] or match[2]).decode()
    except UnicodeDecodeError:
        raise _malformed() from None
    # Browsers and some clients escape quotes and line ends with a percent sign: nobody's field is called that.
    if not name.isprintable() or "%" in name:
        raise _malformed()
    return name, _FILE_NAME.search(dispositions[0]) is not None


def _read_field(body: bytes, name: str, headers: bytes, start: int, end: int) -> Field:
    if b"transfer-encoding" in headers.lower():
        raise InvalidRequest(f"`{name}` must not be encoded.", param=name)
    if end - start > _MAX_FIELD_BYTES:
        raise InvalidRequest(f"`{name}` must have at most {_MAX_FIELD_BYTES} bytes.", param=name)
    try:
        text = body[start:end].decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"`{name}` must be UTF-8.", param=name) from None
    if text and not text.isprintable():
        raise InvalidRequest(f"`{name}` must be printable.", param=name)
    return Field(text, start, end)


def _malformed() -> InvalidRequest:
    return InvalidRequest("The request body is not a well-formed form.")
