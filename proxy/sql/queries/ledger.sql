-- Ledger entries: immutable, numbered per account from 1 without gaps.

-- The same entry again changes nothing. Another entry under the same number is refused by way of the NOT NULL constraint:
-- dropping it silently would lose money.
-- name: insert_ledger_entry
INSERT INTO ledger_entries (account_id, seq, kind, amount_microcredits, before_microcredits, after_microcredits, at,
    call_id, operation_id, actor, reason, idempotency_key)
VALUES (:account_id, :seq, :kind, :amount_microcredits, :before_microcredits, :after_microcredits, :at,
    :call_id, :operation_id, :actor, :reason, :idempotency_key)
ON CONFLICT (account_id, seq) DO UPDATE SET kind = NULL
WHERE ledger_entries.kind <> excluded.kind
    OR ledger_entries.amount_microcredits <> excluded.amount_microcredits
    OR ledger_entries.before_microcredits <> excluded.before_microcredits
    OR ledger_entries.at <> excluded.at
    OR COALESCE(ledger_entries.call_id, '') <> COALESCE(excluded.call_id, '')
    OR COALESCE(ledger_entries.operation_id, '') <> COALESCE(excluded.operation_id, '');

-- name: ledger_entry_by_operation
SELECT * FROM ledger_entries WHERE operation_id = :operation_id;

-- name: newest_ledger_entries
SELECT * FROM ledger_entries WHERE account_id = :account_id AND seq < :before_seq ORDER BY seq DESC LIMIT :row_limit;

-- name: ledger_entries_after
SELECT * FROM ledger_entries WHERE account_id = :account_id AND seq > :after_seq AND seq <= :to_seq
ORDER BY seq LIMIT :row_limit;

-- What Redis must hold for an account once every entry is in SQL: sums by side, and the number of the last entry.
-- name: ledger_totals
SELECT COUNT(*) AS entries, CAST(COALESCE(MAX(seq), 0) AS BIGINT) AS seq,
    CAST(COALESCE(SUM(CASE WHEN kind IN ('charge', 'correction') THEN 0 ELSE amount_microcredits END), 0) AS BIGINT)
        AS credited_microcredits,
    CAST(COALESCE(SUM(CASE WHEN kind IN ('charge', 'correction') THEN -amount_microcredits ELSE 0 END), 0) AS BIGINT)
        AS spent_microcredits
FROM ledger_entries WHERE account_id = :account_id;

-- The number of the account's last entry, 0 where there is none: one look at the primary key.
-- name: last_ledger_entry
SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) AS seq FROM ledger_entries WHERE account_id = :account_id;

-- name: any_ledger_entry
SELECT account_id FROM ledger_entries LIMIT 1;

-- A page of an account's entries for the audit; `has_record` is 0 where the entry's call has no usage record.
-- name: audit_entries
SELECT seq, kind, amount_microcredits, before_microcredits, after_microcredits, call_id, operation_id,
    CASE WHEN call_id IS NULL OR EXISTS (SELECT 1 FROM usage_records u WHERE u.call_id = ledger_entries.call_id)
        THEN 1 ELSE 0 END AS has_record
FROM ledger_entries WHERE account_id = :account_id AND seq > :after_seq AND seq <= :to_seq
ORDER BY seq LIMIT :row_limit;

-- What a call cost, and what was returned of it.
-- name: ledger_entries_of_call
SELECT seq, kind, amount_microcredits FROM ledger_entries WHERE call_id = :call_id ORDER BY seq;
