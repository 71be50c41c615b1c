"""Documents of the right shape with wrong values in them: what a fuzzer of bytes alone would need very long to find.

A template is a text with JSON in it (a document, server-sent events, lines of frames). Its values are found once, and
three bytes of input each put something else in the place of one: a hostile value, another value of the template, nothing.
"""

import re

from tests.fuzz.control import Control
from tests.support.answers import HOSTILE

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}\[\]]')
MOST_CHANGES = 4

VALUES: tuple[bytes, ...] = (
    *(text.encode() for text in HOSTILE),
    *(b"0", b"1", b"7", b"3.0", b"1000000000", b"999999999", b"-0", b"0.0", b"1e2", b"18446744073709551616"),
    *(
        b"null",
        b"true",
        b"false",
        b"{}",
        b"[]",
        b'""',
        b'"x"',
        b"[{}]",
        b"[null]",
        b"[[]]",
        b'[""]',
        b"[1,2]",
        b'{"":1}',
    ),
    *(b'"\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\xc3\xa9"', b'"\xed\xa0\x80"', b'"a\nb"', b'"a\r\n\r\nb"', b'"\\"'),
    *(
        b"[" * 200,
        b"{" * 3,
        b'{"a":' * 200,
        b"]",
        b"}",
        b'"',
        b"",
        b"\x00",
        b"\r\n\r\n",
        b"\n\n",
        b"\r",
        b"\xef\xbb\xbf",
    ),
    *(
        b'"' + b"y" * 300 + b'"',
        b'"[DONE]"',
        b'"error"',
        b'{"usage":{}}',
        b'{"type":"error"}',
        b'1,"usage":{}',
        b'1,"model":"z"',
    ),
)


class Template:
    """A text and where its values are, those of objects and arrays included."""

    __slots__ = ("spans", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        spans: list[tuple[int, int]] = []
        opened: list[int] = []
        for token in _TOKEN.finditer(text):
            if token[0] in b"{[":
                opened.append(token.start())
            elif token[0] in b"}]":
                if opened:
                    spans.append((opened.pop(), token.end()))
            else:
                spans.append(token.span())
        self.spans = sorted(spans) or [(0, len(text))]

    def changed(self, control: Control) -> bytes:
        """The text with some of its values replaced; later changes do not touch what an earlier one replaced."""
        changes: list[tuple[int, int, bytes]] = []
        for _ in range(control.byte() % (MOST_CHANGES + 1)):
            start, end = self.spans[control.short() % len(self.spans)]
            by = control.short()
            if all(end <= other[0] or start >= other[1] for other in changes):
                changes.append((start, end, self._value(by)))
        pieces: list[bytes] = []
        at = 0
        for start, end, value in sorted(changes):
            pieces += (self.text[at:start], value)
            at = end
        return b"".join((*pieces, self.text[at:]))

    def _value(self, number: int) -> bytes:
        number %= 2 * len(VALUES)
        if number < len(VALUES):
            return VALUES[number]
        start, end = self.spans[(number - len(VALUES)) % len(self.spans)]
        return self.text[start:end]
