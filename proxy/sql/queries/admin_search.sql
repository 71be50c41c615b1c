-- The administrators' search, exports and sums over usage records and ledger entries: of one account, or of all.
-- A slice is what stands from `low` (included) to `high` (not) in the order of the index that it is read by; an edge is found in
-- the index alone. A filter that is null does not filter; `tag` is a member of the JSON text, or empty.

-- name: admin_usage_of_account
SELECT * FROM usage_records
WHERE account_id = :account_id AND (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
    AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
    AND (CAST(:model AS TEXT) IS NULL OR model = :model)
    AND (CAST(:outcome AS TEXT) IS NULL OR outcome = :outcome)
    AND (CAST(:status AS BIGINT) IS NULL OR status = :status)
    AND (CAST(:settlement_basis AS TEXT) IS NULL OR settlement_basis = :settlement_basis)
    AND (CAST(:trace_id AS TEXT) IS NULL OR trace_id = :trace_id)
    AND (CAST(:tag AS TEXT) = '' OR REPLACE(tags, :tag, '') <> tags)
    AND charge_microcredits >= :min_microcredits AND charge_microcredits <= :max_microcredits
ORDER BY at DESC, call_id DESC LIMIT :row_limit;

-- name: admin_usage_of_all
SELECT * FROM usage_records
WHERE (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
    AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
    AND (CAST(:model AS TEXT) IS NULL OR model = :model)
    AND (CAST(:outcome AS TEXT) IS NULL OR outcome = :outcome)
    AND (CAST(:status AS BIGINT) IS NULL OR status = :status)
    AND (CAST(:settlement_basis AS TEXT) IS NULL OR settlement_basis = :settlement_basis)
    AND (CAST(:trace_id AS TEXT) IS NULL OR trace_id = :trace_id)
    AND (CAST(:tag AS TEXT) = '' OR REPLACE(tags, :tag, '') <> tags)
    AND charge_microcredits >= :min_microcredits AND charge_microcredits <= :max_microcredits
ORDER BY at DESC, call_id DESC LIMIT :row_limit;

-- name: admin_usage_edge_down_of_account
SELECT at, call_id FROM usage_records
WHERE account_id = :account_id AND (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
ORDER BY at DESC, call_id DESC LIMIT 1 OFFSET :skipped;

-- name: admin_usage_edge_down_of_all
SELECT at, call_id FROM usage_records
WHERE (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
ORDER BY at DESC, call_id DESC LIMIT 1 OFFSET :skipped;

-- name: admin_usage_edge_up_of_account
SELECT at, call_id FROM usage_records
WHERE account_id = :account_id AND (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
ORDER BY at, call_id LIMIT 1 OFFSET :skipped;

-- name: admin_usage_edge_up_of_all
SELECT at, call_id FROM usage_records
WHERE (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
ORDER BY at, call_id LIMIT 1 OFFSET :skipped;

-- Entries; `by_call` 1 where anything is wanted of the call that an entry belongs to.
-- name: admin_entries_of_account
SELECT * FROM ledger_entries
WHERE account_id = :account_id AND (at, seq) >= (:low_at, :low_seq) AND (at, seq) < (:high_at, :high_seq)
    AND (CAST(:kind AS TEXT) IS NULL OR kind = :kind)
    AND (CAST(:actor AS TEXT) IS NULL OR actor = :actor)
    AND (CAST(:idempotency_key AS TEXT) IS NULL OR idempotency_key = :idempotency_key)
    AND amount_microcredits >= :min_microcredits AND amount_microcredits <= :max_microcredits
    AND (CAST(:by_call AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM usage_records u WHERE u.call_id = ledger_entries.call_id
        AND (CAST(:key_id AS TEXT) IS NULL OR u.key_id = :key_id)
        AND (CAST(:provider AS TEXT) IS NULL OR u.provider = :provider)
        AND (CAST(:model AS TEXT) IS NULL OR u.model = :model)
        AND (CAST(:outcome AS TEXT) IS NULL OR u.outcome = :outcome)
        AND (CAST(:status AS BIGINT) IS NULL OR u.status = :status)
        AND (CAST(:settlement_basis AS TEXT) IS NULL OR u.settlement_basis = :settlement_basis)
        AND (CAST(:trace_id AS TEXT) IS NULL OR u.trace_id = :trace_id)
        AND (CAST(:tag AS TEXT) = '' OR REPLACE(u.tags, :tag, '') <> u.tags)))
ORDER BY at DESC, seq DESC LIMIT :row_limit;

-- name: admin_entries_of_all
SELECT * FROM ledger_entries
WHERE (at, account_id, seq) >= (:low_at, :low_account_id, :low_seq)
    AND (at, account_id, seq) < (:high_at, :high_account_id, :high_seq)
    AND (CAST(:kind AS TEXT) IS NULL OR kind = :kind)
    AND (CAST(:actor AS TEXT) IS NULL OR actor = :actor)
    AND (CAST(:idempotency_key AS TEXT) IS NULL OR idempotency_key = :idempotency_key)
    AND amount_microcredits >= :min_microcredits AND amount_microcredits <= :max_microcredits
    AND (CAST(:by_call AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM usage_records u WHERE u.call_id = ledger_entries.call_id
        AND (CAST(:key_id AS TEXT) IS NULL OR u.key_id = :key_id)
        AND (CAST(:provider AS TEXT) IS NULL OR u.provider = :provider)
        AND (CAST(:model AS TEXT) IS NULL OR u.model = :model)
        AND (CAST(:outcome AS TEXT) IS NULL OR u.outcome = :outcome)
        AND (CAST(:status AS BIGINT) IS NULL OR u.status = :status)
        AND (CAST(:settlement_basis AS TEXT) IS NULL OR u.settlement_basis = :settlement_basis)
        AND (CAST(:trace_id AS TEXT) IS NULL OR u.trace_id = :trace_id)
        AND (CAST(:tag AS TEXT) = '' OR REPLACE(u.tags, :tag, '') <> u.tags)))
ORDER BY at DESC, account_id DESC, seq DESC LIMIT :row_limit;

-- name: admin_entries_edge_down_of_account
SELECT at, account_id, seq FROM ledger_entries
WHERE account_id = :account_id AND (at, seq) >= (:low_at, :low_seq) AND (at, seq) < (:high_at, :high_seq)
ORDER BY at DESC, seq DESC LIMIT 1 OFFSET :skipped;

-- name: admin_entries_edge_down_of_all
SELECT at, account_id, seq FROM ledger_entries
WHERE (at, account_id, seq) >= (:low_at, :low_account_id, :low_seq)
    AND (at, account_id, seq) < (:high_at, :high_account_id, :high_seq)
ORDER BY at DESC, account_id DESC, seq DESC LIMIT 1 OFFSET :skipped;

-- name: admin_entries_edge_up_of_account
SELECT at, account_id, seq FROM ledger_entries
WHERE account_id = :account_id AND (at, seq) >= (:low_at, :low_seq) AND (at, seq) < (:high_at, :high_seq)
ORDER BY at, seq LIMIT 1 OFFSET :skipped;

-- name: admin_entries_edge_up_of_all
SELECT at, account_id, seq FROM ledger_entries
WHERE (at, account_id, seq) >= (:low_at, :low_account_id, :low_seq)
    AND (at, account_id, seq) < (:high_at, :high_account_id, :high_seq)
ORDER BY at, account_id, seq LIMIT 1 OFFSET :skipped;

-- The few entries of one call, for a search that names it.
-- name: admin_entries_of_call
SELECT * FROM ledger_entries WHERE call_id = :call_id ORDER BY at DESC, account_id DESC, seq DESC LIMIT :row_limit;

-- Sums of a slice by its tags, as they stand in the records: whoever asks for one tag's values folds them.
-- name: admin_usage_tags_of_account
SELECT CASE WHEN CAST(:width_ms AS BIGINT) > 0 THEN at / CAST(:divisor_ms AS BIGINT) ELSE 0 END AS bucket, tags,
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id END AS account_id,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id END AS key_id,
    CASE WHEN CAST(:by_provider AS BIGINT) = 1 THEN provider END AS provider,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model END AS model,
    COUNT(*) AS calls,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(COALESCE(SUM(cached_tokens), 0) AS BIGINT) AS cached_tokens,
    CAST(SUM(cost_nano_usd) AS BIGINT) AS cost_nano_usd,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM usage_records
WHERE account_id = :account_id AND (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
    AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
    AND (CAST(:model AS TEXT) IS NULL OR model = :model)
GROUP BY 1, 2, 3, 4, 5, 6 LIMIT :row_limit;

-- name: admin_usage_tags_of_all
SELECT CASE WHEN CAST(:width_ms AS BIGINT) > 0 THEN at / CAST(:divisor_ms AS BIGINT) ELSE 0 END AS bucket, tags,
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id END AS account_id,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id END AS key_id,
    CASE WHEN CAST(:by_provider AS BIGINT) = 1 THEN provider END AS provider,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model END AS model,
    COUNT(*) AS calls,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(COALESCE(SUM(cached_tokens), 0) AS BIGINT) AS cached_tokens,
    CAST(SUM(cost_nano_usd) AS BIGINT) AS cost_nano_usd,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM usage_records
WHERE (at, call_id) >= (:low_at, :low_call_id) AND (at, call_id) < (:high_at, :high_call_id)
    AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id)
    AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
    AND (CAST(:model AS TEXT) IS NULL OR model = :model)
GROUP BY 1, 2, 3, 4, 5, 6 LIMIT :row_limit;
