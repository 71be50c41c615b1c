"""What one turn of the loop writes leaves together, in order, and not to who is gone."""

import asyncio

from proxy.pipeline.departures import Departures


class Wire(asyncio.Transport):
    """Notes what is written, with all others in one list."""

    def __init__(self, name: str, log: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self._name, self._log = name, log
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._log.append((self._name, bytes(data)))

    def is_closing(self) -> bool:
        return self.closing


async def test_a_turn_leaves_at_its_end_in_order() -> None:
    log: list[tuple[str, bytes]] = []
    departures, one, other = Departures(asyncio.get_running_loop()), Wire("one", log), Wire("other", log)
    departures.write(one, b"1")
    departures.write(other, b"2")
    departures.write(one, b"3")
    assert log == []
    assert departures.turns == 0
    await asyncio.sleep(0)
    assert log == [("one", b"1"), ("other", b"2"), ("one", b"3")]
    assert departures.turns == 1
    departures.write(other, b"4")
    await asyncio.sleep(0)
    assert log[3:] == [("other", b"4")]


async def test_what_was_closed_meanwhile_is_not_written_to() -> None:
    log: list[tuple[str, bytes]] = []
    departures, one, other = Departures(asyncio.get_running_loop()), Wire("one", log), Wire("other", log)
    departures.write(one, b"1")
    departures.write(other, b"2")
    one.closing = True
    departures.flush()
    assert log == [("other", b"2")]
    await asyncio.sleep(0)
    assert log == [("other", b"2")]
