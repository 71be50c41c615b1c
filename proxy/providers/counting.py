"""The process that counts: `python -m proxy.providers.counting`, started by `tokens.TokenCounter`, ends when its owner does.

An encoding takes 25 to 80 MB and holds the interpreter for 0.2 s while it is built: neither belongs into a process that serves.
One connection, on descriptor 0. A question is the lengths of model and text (4 bytes each, big-endian), then both in UTF-8;
the answer is the number of tokens in 4 bytes. Questions are answered in their order.
"""

import signal
import socket
import struct

from proxy.providers.encodings import count_now

QUESTION = struct.Struct("!II")
ANSWER = struct.Struct("!I")


def question(text: str, model: str) -> bytes:
    """A question as bytes; a lone surrogate is counted as the replacement character."""
    name, content = model.encode(errors="replace"), text.encode(errors="replace")
    return QUESTION.pack(len(name), len(content)) + name + content


def main() -> None:
    """Answer until the other side is gone. A signal to the whole group must not end it while calls are still settled."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=0) as connection, connection.makefile("rb") as questions:
        while len(head := questions.read(QUESTION.size)) == QUESTION.size:
            name_size, text_size = QUESTION.unpack(head)
            name, text = questions.read(name_size), questions.read(text_size)
            connection.sendall(ANSWER.pack(count_now(text.decode(), name.decode())))


if __name__ == "__main__":
    main()
