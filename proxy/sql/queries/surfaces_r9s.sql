-- r9s' portal. `second` is in Unix seconds, everything else in milliseconds.

-- name: r9s_usage
SELECT at / 1000 AS second, model, input_tokens + output_tokens AS tokens FROM usage_records
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at
ORDER BY at, call_id LIMIT :row_limit OFFSET :row_offset;

-- One row a UTC day and model.
-- name: r9s_usage_by_day
SELECT at / 86400000 * 86400 AS second, model, CAST(SUM(input_tokens + output_tokens) AS BIGINT) AS tokens
FROM usage_records
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at
GROUP BY at / 86400000 * 86400, model
ORDER BY second, model LIMIT :row_limit OFFSET :row_offset;

-- name: r9s_total_tokens
SELECT CAST(COALESCE(SUM(input_tokens + output_tokens), 0) AS BIGINT) AS tokens FROM usage_records
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at;
