"""Ids: what they look like, that none comes twice, and that a fork does not hand out its parent's."""

import os
import uuid

from proxy.core.ids import new_call_id, new_id, trace_id_of


def test_a_call_id_is_a_uuid_of_version_7_that_says_when() -> None:
    made = uuid.UUID(new_call_id(1_795_312_800_123))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_795_312_800_123


def test_no_id_comes_twice() -> None:
    made = [new_call_id(1) for _ in range(2_000)] + [new_id("key") for _ in range(2_000)]
    assert len({one[15:] for one in made[:2_000]} | {one[4:] for one in made[2_000:]}) == 4_000


def test_ids_of_one_millisecond_sort_before_those_of_the_next() -> None:
    assert new_call_id(1) < new_call_id(2) < new_call_id(2**40)


def test_a_forked_child_makes_its_own() -> None:
    new_call_id(1)  # there is a rest of random bits
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, new_call_id(1).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100).decode() != new_call_id(1)
    os.close(reading)
    os.close(writing)


def test_a_call_without_a_trace_is_one_of_its_own() -> None:
    call_id = new_call_id()
    assert trace_id_of(call_id) == uuid.UUID(call_id).hex
