-- r9s' portal. `second` is in Unix seconds, everything else in milliseconds.

-- name: r9s_usage
SELECT at / 1000 AS second, model, input_tokens + output_tokens AS tokens FROM usage_records
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at
ORDER BY at, call_id LIMIT :row_limit OFFSET :row_offset;
