"""The output of a call so far, kept so that it can be counted where no usage was reported. Bounded memory."""

# 256 KiB is about 64,000 tokens. Beyond it only the length is kept, and the count is scaled up by it.
LIMIT_BYTES = 256 * 1024
BYTES_PER_TOKEN = 4  # of prose, on average: checkpoints rest on it, never a final charge while there is time to count


class Tally:
    """Counts pieces, bytes and tool calls of the output, and keeps the first `LIMIT_BYTES` of the text itself."""

    __slots__ = ("_text", "bytes", "calls", "pieces")

    def __init__(self) -> None:
        self.calls = 0
        self.pieces = 0
        self.bytes = 0
        self._text = bytearray()

    def add(self, text: str) -> None:
        """One more piece of output."""
        encoded = text.encode()
        self.pieces += 1
        self.bytes += len(encoded)
        if self.bytes <= LIMIT_BYTES:
            self._text += encoded
        elif len(self._text) < LIMIT_BYTES:
            self._text += encoded[: LIMIT_BYTES - len(self._text)]

    def call(self, name: str) -> None:
        """The model begins to call a tool: models write more around a name and its arguments than is passed on."""
        self.calls += 1
        if name:
            self.add(name)

    @property
    def text(self) -> str:
        """What was kept."""
        return self._text.decode(errors="ignore")
