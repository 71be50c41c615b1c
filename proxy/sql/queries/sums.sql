-- Sums of usage records: how the recorder keeps them, how they are read, compared and made again (proxy/records/sums.py).

-- A batch that writes records notes what its calls have in SQL before and after, by call, and merges the difference.
-- name: note_usage_before
INSERT INTO usage_changes
SELECT at, account_id, key_id, provider, model, service, COALESCE(status, -1), -1, -input_tokens, -output_tokens,
    -COALESCE(cached_tokens, 0), -cost_nano_usd, -charge_microcredits
FROM served_calls WHERE call_id = :call_id;

-- name: note_usage_after
INSERT INTO usage_changes
SELECT at, account_id, key_id, provider, model, service, COALESCE(status, -1), 1, input_tokens, output_tokens,
    COALESCE(cached_tokens, 0), cost_nano_usd, charge_microcredits
FROM served_calls WHERE call_id = :call_id;

-- name: merge_usage_changes
INSERT INTO usage_sums (grain, start_at, account_id, key_id, provider, model, service, status, calls, input_tokens,
    output_tokens, cached_tokens, cost_nano_usd, charge_microcredits)
SELECT CAST(:grain AS TEXT), at / CAST(:width_ms AS BIGINT) * CAST(:width_ms AS BIGINT),
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id ELSE '' END,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN provider ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN service ELSE '' END,
    CASE WHEN CAST(:by_status AS BIGINT) = 1 THEN status ELSE 0 END,
    CAST(SUM(calls) AS BIGINT), CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT),
    CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cost_nano_usd) AS BIGINT), CAST(SUM(charge_microcredits) AS BIGINT)
FROM usage_changes WHERE TRUE
GROUP BY 2, 3, 4, 5, 6, 7, 8
ON CONFLICT (grain, start_at, account_id, key_id, provider, model, service, status) DO UPDATE SET
    calls = usage_sums.calls + excluded.calls,
    input_tokens = usage_sums.input_tokens + excluded.input_tokens,
    output_tokens = usage_sums.output_tokens + excluded.output_tokens,
    cached_tokens = usage_sums.cached_tokens + excluded.cached_tokens,
    cost_nano_usd = usage_sums.cost_nano_usd + excluded.cost_nano_usd,
    charge_microcredits = usage_sums.charge_microcredits + excluded.charge_microcredits;

-- name: forget_usage_changes
DELETE FROM usage_changes;

-- The time of the first and of the last record; null where there is none. Two looks at an index.
-- name: usage_ends_of_account
SELECT (SELECT MIN(at) FROM usage_records WHERE account_id = :account_id) AS first_at,
    (SELECT MAX(at) FROM usage_records WHERE account_id = :account_id) AS last_at;

-- name: usage_ends_of_all
SELECT (SELECT MIN(at) FROM usage_records) AS first_at, (SELECT MAX(at) FROM usage_records) AS last_at;

-- Sums over the records of [head_from, head_to) and [tail_from, tail_to), the hours of [early_from, early_to) and [late_from,
-- late_to), and the days of [days_from, days_to). A list of texts to be among is empty for any, else each of them between two
-- unit separators: REPLACE finds a text in it as it is, which LIKE would not. What is not grouped by is null.
-- Every hour and day of the account is looked up by itself, as the sums of one hour of all accounts stand together.
-- name: usage_sums_of_account
WITH RECURSIVE spans(grain, start_at, width_ms, end_at) AS (
    SELECT grain, start_at, width_ms, end_at FROM (
        SELECT 'hour' AS grain, CAST(:early_from AS BIGINT) AS start_at, 3600000 AS width_ms, CAST(:early_to AS BIGINT) AS end_at
        UNION ALL SELECT 'day', CAST(:days_from AS BIGINT), 86400000, CAST(:days_to AS BIGINT)
        UNION ALL SELECT 'hour', CAST(:late_from AS BIGINT), 3600000, CAST(:late_to AS BIGINT)) AS ranges
    WHERE start_at < end_at
    UNION ALL SELECT grain, start_at + width_ms, width_ms, end_at FROM spans WHERE start_at + width_ms < end_at
)
SELECT CASE WHEN CAST(:width_ms AS BIGINT) = 0 THEN 0 ELSE at / CAST(:divisor_ms AS BIGINT) END AS bucket,
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id END AS account_id,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id END AS key_id,
    CASE WHEN CAST(:by_provider AS BIGINT) = 1 THEN provider END AS provider,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model END AS model,
    CASE WHEN CAST(:by_service AS BIGINT) = 1 THEN service END AS service,
    CASE WHEN CAST(:by_status AS BIGINT) = 1 THEN status END AS status,
    CAST(SUM(calls) AS BIGINT) AS calls,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(SUM(cached_tokens) AS BIGINT) AS cached_tokens,
    CAST(SUM(cost_nano_usd) AS BIGINT) AS cost_nano_usd,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM (
    SELECT at, account_id, key_id, provider, model, service, COALESCE(status, -1) AS status, 1 AS calls, input_tokens,
        output_tokens, COALESCE(cached_tokens, 0) AS cached_tokens, cost_nano_usd, charge_microcredits
    FROM served_calls WHERE account_id = :account_id AND at >= :head_from AND at < :head_to
    UNION ALL
    SELECT at, account_id, key_id, provider, model, service, COALESCE(status, -1), 1, input_tokens,
        output_tokens, COALESCE(cached_tokens, 0), cost_nano_usd, charge_microcredits
    FROM served_calls WHERE account_id = :account_id AND at >= :tail_from AND at < :tail_to
    UNION ALL
    SELECT s.start_at, s.account_id, s.key_id, s.provider, s.model, s.service, s.status, s.calls, s.input_tokens,
        s.output_tokens, s.cached_tokens, s.cost_nano_usd, s.charge_microcredits
    FROM spans CROSS JOIN usage_sums s
    WHERE s.grain = spans.grain AND s.start_at = spans.start_at AND s.account_id = :account_id
) AS pieces
WHERE (CAST(:keys AS TEXT) = '' OR REPLACE(:keys, :mark || key_id || :mark, '') <> :keys)
    AND (CAST(:providers AS TEXT) = '' OR REPLACE(:providers, :mark || provider || :mark, '') <> :providers)
    AND (CAST(:models AS TEXT) = '' OR REPLACE(:models, :mark || model || :mark, '') <> :models)
    AND (CAST(:services AS TEXT) = '' OR REPLACE(:services, :mark || service || :mark, '') <> :services)
    AND (CAST(:not_services AS TEXT) = '' OR REPLACE(:not_services, :mark || service || :mark, '') = :not_services)
GROUP BY 1, 2, 3, 4, 5, 6, 7
HAVING SUM(calls) > 0
ORDER BY 1, 5, 2, 3, 4, 6, 7 LIMIT :row_limit;

-- Of all accounts, or of those named. `fine` is the grain of the hours, `coarse` that of the days.
-- name: usage_sums_of_all
SELECT CASE WHEN CAST(:width_ms AS BIGINT) = 0 THEN 0 ELSE at / CAST(:divisor_ms AS BIGINT) END AS bucket,
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id END AS account_id,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id END AS key_id,
    CASE WHEN CAST(:by_provider AS BIGINT) = 1 THEN provider END AS provider,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model END AS model,
    CASE WHEN CAST(:by_service AS BIGINT) = 1 THEN service END AS service,
    CASE WHEN CAST(:by_status AS BIGINT) = 1 THEN status END AS status,
    CAST(SUM(calls) AS BIGINT) AS calls,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(SUM(cached_tokens) AS BIGINT) AS cached_tokens,
    CAST(SUM(cost_nano_usd) AS BIGINT) AS cost_nano_usd,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM (
    SELECT at, account_id, key_id, provider, model, service, COALESCE(status, -1) AS status, 1 AS calls, input_tokens,
        output_tokens, COALESCE(cached_tokens, 0) AS cached_tokens, cost_nano_usd, charge_microcredits
    FROM served_calls WHERE at >= :head_from AND at < :head_to
    UNION ALL
    SELECT at, account_id, key_id, provider, model, service, COALESCE(status, -1), 1, input_tokens,
        output_tokens, COALESCE(cached_tokens, 0), cost_nano_usd, charge_microcredits
    FROM served_calls WHERE at >= :tail_from AND at < :tail_to
    UNION ALL
    SELECT start_at, account_id, key_id, provider, model, service, status, calls, input_tokens, output_tokens,
        cached_tokens, cost_nano_usd, charge_microcredits
    FROM usage_sums WHERE grain = :fine AND start_at >= :early_from AND start_at < :early_to
    UNION ALL
    SELECT start_at, account_id, key_id, provider, model, service, status, calls, input_tokens, output_tokens,
        cached_tokens, cost_nano_usd, charge_microcredits
    FROM usage_sums WHERE grain = :fine AND start_at >= :late_from AND start_at < :late_to
    UNION ALL
    SELECT start_at, account_id, key_id, provider, model, service, status, calls, input_tokens, output_tokens,
        cached_tokens, cost_nano_usd, charge_microcredits
    FROM usage_sums WHERE grain = :coarse AND start_at >= :days_from AND start_at < :days_to
) AS pieces
WHERE (CAST(:accounts AS TEXT) = '' OR REPLACE(:accounts, :mark || account_id || :mark, '') <> :accounts)
    AND (CAST(:keys AS TEXT) = '' OR REPLACE(:keys, :mark || key_id || :mark, '') <> :keys)
    AND (CAST(:providers AS TEXT) = '' OR REPLACE(:providers, :mark || provider || :mark, '') <> :providers)
    AND (CAST(:models AS TEXT) = '' OR REPLACE(:models, :mark || model || :mark, '') <> :models)
    AND (CAST(:services AS TEXT) = '' OR REPLACE(:services, :mark || service || :mark, '') <> :services)
    AND (CAST(:not_services AS TEXT) = '' OR REPLACE(:not_services, :mark || service || :mark, '') = :not_services)
GROUP BY 1, 2, 3, 4, 5, 6, 7
HAVING SUM(calls) > 0
ORDER BY 1, 5, 2, 3, 4, 6, 7 LIMIT :row_limit;

-- For the audit: groups of one grain whose sums are not those of their records (for the grain `hour`) or of the hours (for the
-- others), within whole days; `calls` and the like are what the sums have too much (or too little, below zero).
-- name: usage_sums_and_hours
SELECT start_at, account_id, key_id, provider, model, service, status, CAST(SUM(calls) AS BIGINT) AS calls,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM (
    SELECT start_at, account_id, key_id, provider, model, service, status, calls, input_tokens, output_tokens,
        cached_tokens, cost_nano_usd, charge_microcredits
    FROM usage_sums WHERE grain = :grain AND start_at >= :from_at AND start_at < :to_at
    UNION ALL
    SELECT start_at / CAST(:width_ms AS BIGINT) * CAST(:width_ms AS BIGINT),
        CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id ELSE '' END,
        CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id ELSE '' END,
        CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN provider ELSE '' END,
        CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model ELSE '' END,
        CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN service ELSE '' END,
        CASE WHEN CAST(:by_status AS BIGINT) = 1 THEN status ELSE 0 END,
        -calls, -input_tokens, -output_tokens, -cached_tokens, -cost_nano_usd, -charge_microcredits
    FROM usage_sums WHERE grain = 'hour' AND start_at >= :from_at AND start_at < :to_at
) AS both_sides
GROUP BY start_at, account_id, key_id, provider, model, service, status
HAVING SUM(calls) <> 0 OR SUM(input_tokens) <> 0 OR SUM(output_tokens) <> 0 OR SUM(cached_tokens) <> 0
    OR SUM(cost_nano_usd) <> 0 OR SUM(charge_microcredits) <> 0
ORDER BY start_at, account_id LIMIT :row_limit;

-- name: usage_sums_and_records
SELECT start_at, account_id, key_id, provider, model, service, status, CAST(SUM(calls) AS BIGINT) AS calls,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM (
    SELECT start_at, account_id, key_id, provider, model, service, status, calls, input_tokens, output_tokens,
        cached_tokens, cost_nano_usd, charge_microcredits
    FROM usage_sums WHERE grain = :grain AND start_at >= :from_at AND start_at < :to_at
    UNION ALL
    SELECT at / CAST(:width_ms AS BIGINT) * CAST(:width_ms AS BIGINT),
        CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id ELSE '' END,
        CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id ELSE '' END,
        CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN provider ELSE '' END,
        CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model ELSE '' END,
        CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN service ELSE '' END,
        CASE WHEN CAST(:by_status AS BIGINT) = 1 THEN COALESCE(status, -1) ELSE 0 END,
        -1, -input_tokens, -output_tokens, -COALESCE(cached_tokens, 0), -cost_nano_usd, -charge_microcredits
    FROM served_calls WHERE at >= :from_at AND at < :to_at
) AS both_sides
GROUP BY start_at, account_id, key_id, provider, model, service, status
HAVING SUM(calls) <> 0 OR SUM(input_tokens) <> 0 OR SUM(output_tokens) <> 0 OR SUM(cached_tokens) <> 0
    OR SUM(cost_nano_usd) <> 0 OR SUM(charge_microcredits) <> 0
ORDER BY start_at, account_id LIMIT :row_limit;

-- The days that sums are of; beside those of the records.
-- name: usage_sums_ends
SELECT (SELECT MIN(start_at) FROM usage_sums WHERE grain = 'day') AS first_at,
    (SELECT MAX(start_at) FROM usage_sums WHERE grain = 'day') AS last_at;

-- name: forget_usage_sums
DELETE FROM usage_sums WHERE grain = :grain AND start_at >= :from_at AND start_at < :to_at;

-- Makes the sums of another grain from the hours.
-- name: remake_usage_sums_of_hours
INSERT INTO usage_sums (grain, start_at, account_id, key_id, provider, model, service, status, calls, input_tokens,
    output_tokens, cached_tokens, cost_nano_usd, charge_microcredits)
SELECT CAST(:grain AS TEXT), start_at / CAST(:width_ms AS BIGINT) * CAST(:width_ms AS BIGINT),
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id ELSE '' END,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN provider ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN service ELSE '' END,
    CASE WHEN CAST(:by_status AS BIGINT) = 1 THEN status ELSE 0 END,
    CAST(SUM(calls) AS BIGINT), CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT),
    CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cost_nano_usd) AS BIGINT), CAST(SUM(charge_microcredits) AS BIGINT)
FROM usage_sums WHERE grain = 'hour' AND start_at >= :from_at AND start_at < :to_at
GROUP BY 2, 3, 4, 5, 6, 7, 8;

-- Makes the sums of one grain (the hours, that is) within whole days from the records, where there are none.
-- name: remake_usage_sums
INSERT INTO usage_sums (grain, start_at, account_id, key_id, provider, model, service, status, calls, input_tokens,
    output_tokens, cached_tokens, cost_nano_usd, charge_microcredits)
SELECT CAST(:grain AS TEXT), at / CAST(:width_ms AS BIGINT) * CAST(:width_ms AS BIGINT),
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id ELSE '' END,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN provider ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model ELSE '' END,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN service ELSE '' END,
    CASE WHEN CAST(:by_status AS BIGINT) = 1 THEN COALESCE(status, -1) ELSE 0 END,
    COUNT(*), CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT),
    CAST(SUM(COALESCE(cached_tokens, 0)) AS BIGINT), CAST(SUM(cost_nano_usd) AS BIGINT),
    CAST(SUM(charge_microcredits) AS BIGINT)
FROM served_calls WHERE at >= :from_at AND at < :to_at
GROUP BY 2, 3, 4, 5, 6, 7, 8;
