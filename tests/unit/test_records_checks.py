"""The audit's rules on their own: any single change of an entry is noticed, and pages in any order of arrival are not."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.outcomes import Balance
from proxy.records.checks import ChainCheck, Difference, Entry, merged


def history(amounts: list[int]) -> tuple[list[Entry], Balance]:
    """A ledger of these amounts: what gives is a top-up, what takes a charge."""
    entries, posted = [], 0
    for seq, amount in enumerate(amounts, 1):
        entries.append(Entry(seq, "topup" if amount > 0 else "charge", amount, posted, posted + amount))
        posted += amount
    credited = sum(amount for amount in amounts if amount > 0)
    return entries, Balance("acct_1", credited, credited - posted, 0, len(amounts), 1, 0, 0)


def differences(pages: list[list[Entry]], streamed: list[Entry], balance: Balance) -> list[str]:
    chain, left, found = ChainCheck("acct_1"), {entry.seq: entry for entry in streamed}, []
    for number, page in enumerate(pages, 1):
        last = balance.seq if number == len(pages) else page[-1].seq
        for item in merged("acct_1", page, left, last):
            found += [item] if isinstance(item, Difference) else list(chain.feed(item))
    return [difference.kind for difference in [*found, *chain.end(balance)]]


amounts = st.lists(st.integers(-1000, 1000).filter(bool), min_size=1, max_size=20)


@given(amounts, st.data())
def test_a_right_ledger_is_right_wherever_its_entries_are(changes: list[int], data: st.DataObject) -> None:
    entries, balance = history(changes)
    in_sql = [entry for entry in entries if data.draw(st.booleans())]
    in_stream = [entry for entry in entries if entry not in in_sql or data.draw(st.booleans())]
    size = data.draw(st.integers(1, 5))
    pages = [in_sql[start : start + size] for start in range(0, len(in_sql), size)]
    assert differences([*pages, []], in_stream, balance) == []


@given(amounts, st.data())
def test_a_missing_entry_is_noticed(changes: list[int], data: st.DataObject) -> None:
    entries, balance = history(changes)
    del entries[data.draw(st.integers(0, len(entries) - 1))]
    assert "gap" in differences([entries], [], balance)


@given(amounts, st.sampled_from(["amount", "before", "after"]), st.integers(-5, 5).filter(bool), st.data())
def test_a_changed_figure_is_noticed(changes: list[int], name: str, by: int, data: st.DataObject) -> None:
    entries, balance = history(changes)
    place = data.draw(st.integers(0, len(entries) - 1))
    entries[place] = replace(entries[place], **{name: getattr(entries[place], name) + by})
    assert differences([entries], [], balance)


@given(amounts, st.sampled_from(["credited_microcredits", "spent_microcredits", "seq"]), st.integers(1, 5))
def test_a_changed_balance_is_noticed(changes: list[int], name: str, by: int) -> None:
    entries, balance = history(changes)
    assert differences([entries], [], replace(balance, **{name: getattr(balance, name) + by}))


@given(amounts)
def test_two_stories_of_one_entry_are_noticed(changes: list[int]) -> None:
    entries, balance = history(changes)
    other = replace(entries[0], amount=entries[0].amount + 1)
    assert differences([entries], [other], balance) == ["conflict"]
