-- Refunds: the return of what calls were charged.

-- name: refunded_of_call
SELECT CAST(COALESCE(SUM(amount_microcredits), 0) AS BIGINT) AS refunded_microcredits
FROM ledger_entries WHERE account_id = :account_id AND kind = 'refund' AND call_id = :call_id;

-- Every refunded call of an account with what was returned of it, for the audit.
-- name: refunds_of_account
SELECT call_id, CAST(SUM(amount_microcredits) AS BIGINT) AS refunded_microcredits
FROM ledger_entries WHERE account_id = :account_id AND kind = 'refund' AND call_id > :after_call_id
GROUP BY call_id ORDER BY call_id LIMIT :row_limit;
