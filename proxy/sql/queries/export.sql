-- Walks over usage records and ledger entries with filters, page by page. A filter that is null lets all pass. Oldest first from
-- `from_at` and `last_...` (on the first page nothing lies before them) to `to_at` (not included); newest first from `to_at`
-- (included) and `last_...` down to `from_at`.

-- name: export_usage_of_account
SELECT * FROM usage_records
WHERE account_id = :account_id AND at >= :from_at AND (at > :from_at OR call_id > :last_id) AND at < :to_at
    AND (CAST(:model AS TEXT) IS NULL OR model = :model)
    AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
    AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:outcome AS TEXT) IS NULL OR outcome = :outcome)
ORDER BY at, call_id LIMIT :row_limit;

-- name: export_usage
SELECT * FROM usage_records
WHERE at >= :from_at AND (at > :from_at OR call_id > :last_id) AND at < :to_at
    AND (CAST(:model AS TEXT) IS NULL OR model = :model)
    AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
    AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:outcome AS TEXT) IS NULL OR outcome = :outcome)
ORDER BY at, call_id LIMIT :row_limit;

-- name: newest_usage_found
SELECT * FROM usage_records
WHERE account_id = :account_id AND at <= :to_at AND (at < :to_at OR call_id < :last_id) AND at >= :from_at
    AND (CAST(:model AS TEXT) IS NULL OR model = :model)
    AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
    AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:outcome AS TEXT) IS NULL OR outcome = :outcome)
ORDER BY at DESC, call_id DESC LIMIT :row_limit;

-- Entries: an account's in their own order. `of_calls` 1: a model, provider, key or outcome is asked for, which is the call's.
-- name: export_entries_of_account
SELECT e.* FROM ledger_entries e
WHERE e.account_id = :account_id AND e.seq > :last_seq AND e.at >= :from_at AND e.at < :to_at
    AND (CAST(:kind AS TEXT) IS NULL OR e.kind = :kind)
    AND (CAST(:of_calls AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM usage_records u WHERE u.call_id = e.call_id
        AND (CAST(:model AS TEXT) IS NULL OR u.model = :model)
        AND (CAST(:provider AS TEXT) IS NULL OR u.provider = :provider)
        AND (CAST(:key_id AS TEXT) IS NULL OR u.key_id = :key_id)
        AND (CAST(:outcome AS TEXT) IS NULL OR u.outcome = :outcome)))
ORDER BY e.seq LIMIT :row_limit;

-- name: export_entries
SELECT e.* FROM ledger_entries e
WHERE e.at >= :from_at AND (e.at > :from_at OR e.account_id > :last_id OR (e.account_id = :last_id AND e.seq > :last_seq))
    AND e.at < :to_at
    AND (CAST(:kind AS TEXT) IS NULL OR e.kind = :kind)
    AND (CAST(:of_calls AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM usage_records u WHERE u.call_id = e.call_id
        AND (CAST(:model AS TEXT) IS NULL OR u.model = :model)
        AND (CAST(:provider AS TEXT) IS NULL OR u.provider = :provider)
        AND (CAST(:key_id AS TEXT) IS NULL OR u.key_id = :key_id)
        AND (CAST(:outcome AS TEXT) IS NULL OR u.outcome = :outcome)))
ORDER BY e.at, e.account_id, e.seq LIMIT :row_limit;

-- name: newest_entries_found
SELECT e.* FROM ledger_entries e
WHERE e.account_id = :account_id AND e.seq < :last_seq AND e.at >= :from_at AND e.at <= :to_at
    AND (CAST(:kind AS TEXT) IS NULL OR e.kind = :kind)
    AND (CAST(:of_calls AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM usage_records u WHERE u.call_id = e.call_id
        AND (CAST(:model AS TEXT) IS NULL OR u.model = :model)
        AND (CAST(:provider AS TEXT) IS NULL OR u.provider = :provider)
        AND (CAST(:key_id AS TEXT) IS NULL OR u.key_id = :key_id)
        AND (CAST(:outcome AS TEXT) IS NULL OR u.outcome = :outcome)))
ORDER BY e.seq DESC LIMIT :row_limit;
