-- What the query surfaces look up. An empty text or a zero among the filters stands for any.

-- Counted from the records only where one trace is asked for; else the sums know. `status_rule`: any, one (status is `status`), good (200 to 399) or bad.
-- name: surface_usage_count_filtered
SELECT COUNT(*) AS items FROM served_calls
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at
    AND (CAST(:service AS TEXT) = '' OR service = :service)
    AND (CAST(:trace_id AS TEXT) = '' OR trace_id = :trace_id)
    AND (CAST(:status_rule AS TEXT) = 'any' OR (:status_rule = 'one' AND status = :status)
        OR (:status_rule = 'good' AND status >= 200 AND status < 400)
        OR (:status_rule = 'bad' AND (status IS NULL OR status < 200 OR status >= 400)));

-- `net_microcredits`: what the call took in all, refunds taken off.
-- name: surface_usage_page
SELECT call_id, at, service, path, status, model, input_tokens, output_tokens, usage, duration_ms, stream, settlement_basis,
    trace_id, charge_microcredits,
    CAST(COALESCE((SELECT -SUM(e.amount_microcredits) FROM ledger_entries e WHERE e.call_id = served_calls.call_id), 0)
        AS BIGINT) AS net_microcredits
FROM served_calls
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at
    AND (CAST(:service AS TEXT) = '' OR service = :service)
    AND (CAST(:trace_id AS TEXT) = '' OR trace_id = :trace_id)
    AND (CAST(:status_rule AS TEXT) = 'any' OR (:status_rule = 'one' AND status = :status)
        OR (:status_rule = 'good' AND status >= 200 AND status < 400)
        OR (:status_rule = 'bad' AND (status IS NULL OR status < 200 OR status >= 400)))
ORDER BY at DESC, call_id DESC LIMIT :row_limit OFFSET :row_offset;

-- name: surface_points_count
SELECT COUNT(*) AS items FROM ledger_entries
WHERE account_id = :account_id AND at >= :from_at AND at <= :to_at AND call_id IS NOT NULL;

-- name: surface_points_count_filtered
SELECT COUNT(*) AS items FROM ledger_entries e JOIN served_calls c ON c.call_id = e.call_id
WHERE e.account_id = :account_id AND e.at >= :from_at AND e.at <= :to_at
    AND (CAST(:service AS TEXT) = '' OR c.service = :service)
    AND (CAST(:trace_id AS TEXT) = '' OR c.trace_id = :trace_id);

-- name: surface_points_page
SELECT e.account_id, e.seq, e.at, e.amount_microcredits, e.before_microcredits, e.after_microcredits, e.call_id,
    c.service, c.path, c.trace_id
FROM ledger_entries e LEFT JOIN served_calls c ON c.call_id = e.call_id
WHERE e.account_id = :account_id AND e.at >= :from_at AND e.at <= :to_at AND e.call_id IS NOT NULL
    AND (CAST(:service AS TEXT) = '' OR c.service = :service)
    AND (CAST(:trace_id AS TEXT) = '' OR c.trace_id = :trace_id)
ORDER BY e.at DESC, e.seq DESC LIMIT :row_limit OFFSET :row_offset;
