-- Refunds: the return of what calls were charged.

-- name: refunded_of_call
SELECT CAST(COALESCE(SUM(amount_microcredits), 0) AS BIGINT) AS refunded_microcredits
FROM ledger_entries WHERE account_id = :account_id AND kind = 'refund' AND call_id = :call_id;

-- Every refunded call of an account, for the audit; suspect where more was returned of it than its record says it cost.
-- name: refunds_of_account
SELECT e.call_id, CASE WHEN SUM(e.amount_microcredits) > COALESCE((SELECT u.charge_microcredits FROM usage_records u
    WHERE u.call_id = e.call_id), 0) THEN 1 ELSE 0 END AS is_suspect
FROM ledger_entries e WHERE e.account_id = :account_id AND e.kind = 'refund' AND e.call_id > :after_call_id
GROUP BY e.call_id ORDER BY e.call_id LIMIT :row_limit;
