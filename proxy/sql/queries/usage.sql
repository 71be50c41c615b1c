-- Usage records: one row a call.

-- name: upsert_usage_record
INSERT INTO usage_records (call_id, revision, at, account_id, key_id, provider, model, dialect, path, status, outcome,
    stream, usage, input_tokens, output_tokens, cost_nano_usd, charge_microcredits, hold_microcredits, price_version,
    settlement_basis, attempts, duration_ms, time_to_first_byte_ms, trace_id, tags, cached_tokens)
VALUES (:call_id, :revision, :at, :account_id, :key_id, :provider, :model, :dialect, :path, :status, :outcome,
    :stream, :usage, :input_tokens, :output_tokens, :cost_nano_usd, :charge_microcredits, :hold_microcredits,
    :price_version, :settlement_basis, :attempts, :duration_ms, :time_to_first_byte_ms, :trace_id, :tags,
    :cached_tokens)
ON CONFLICT (call_id) DO UPDATE SET revision = excluded.revision, at = excluded.at, account_id = excluded.account_id,
    key_id = excluded.key_id, provider = excluded.provider, model = excluded.model, dialect = excluded.dialect,
    path = excluded.path, status = excluded.status, outcome = excluded.outcome, stream = excluded.stream,
    usage = excluded.usage, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
    cost_nano_usd = excluded.cost_nano_usd, charge_microcredits = excluded.charge_microcredits,
    hold_microcredits = excluded.hold_microcredits, price_version = excluded.price_version,
    settlement_basis = excluded.settlement_basis, attempts = excluded.attempts, duration_ms = excluded.duration_ms,
    time_to_first_byte_ms = excluded.time_to_first_byte_ms, trace_id = excluded.trace_id, tags = excluded.tags,
    cached_tokens = excluded.cached_tokens
WHERE excluded.revision > usage_records.revision;

-- name: usage_record
SELECT * FROM usage_records WHERE call_id = :call_id;

-- name: newest_usage_records
SELECT * FROM usage_records
WHERE account_id = :account_id AND (at < :before_at OR (at = :before_at AND call_id < :before_call_id))
ORDER BY at DESC, call_id DESC LIMIT :row_limit;

-- A page of an account's records, oldest first, each with what its ledger entries took in all.
-- name: audit_records
SELECT call_id, at, charge_microcredits,
    CAST(COALESCE((SELECT -SUM(e.amount_microcredits) FROM ledger_entries e WHERE e.call_id = usage_records.call_id
        AND e.kind IN ('charge', 'correction')), 0) AS BIGINT) AS entries_microcredits
FROM usage_records
WHERE account_id = :account_id AND (at > :after_at OR (at = :after_at AND call_id > :after_call_id))
ORDER BY at, call_id LIMIT :row_limit;

-- Of all accounts, for the operators' overview; a call id begins with its time.
-- name: newest_calls
SELECT * FROM usage_records ORDER BY call_id DESC LIMIT :row_limit;
