-- What gateways tell of the key that asks, and of grants.

-- Read from the index usage_records_by_time alone.
-- name: surface_key_spending
SELECT CAST(COALESCE(SUM(charge_microcredits), 0) AS BIGINT) AS total,
    CAST(COALESCE(SUM(CASE WHEN at >= :month_at THEN charge_microcredits ELSE 0 END), 0) AS BIGINT) AS month,
    CAST(COALESCE(SUM(CASE WHEN at >= :week_at THEN charge_microcredits ELSE 0 END), 0) AS BIGINT) AS week,
    CAST(COALESCE(SUM(CASE WHEN at >= :day_at THEN charge_microcredits ELSE 0 END), 0) AS BIGINT) AS day
FROM usage_records WHERE account_id = :account_id AND key_id = :key_id;
