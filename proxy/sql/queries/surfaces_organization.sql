-- An organization's usage and costs in buckets of time: sums over the records of one account, or of all.
-- `part`: all, embeddings, or completions (everything else). A list of texts to be among is empty for any, else each of them
-- between two unit separators: REPLACE finds a text in it as it is, which LIKE would not. What is not grouped by is null.

-- name: organization_usage_of_account
SELECT at / CAST(:width_ms AS BIGINT) AS bucket,
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id END AS account_id,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id END AS key_id,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model END AS model,
    COUNT(*) AS calls,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(COALESCE(SUM(cached_tokens), 0) AS BIGINT) AS cached_tokens,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM usage_records
WHERE account_id = :account_id AND at >= :from_at AND at < :to_at
    AND (CAST(:part AS TEXT) = 'all' OR (:part = 'embeddings') = (LOWER(path) LIKE '%embed%'))
    AND (CAST(:models AS TEXT) = '' OR REPLACE(:models, :mark || model || :mark, '') <> :models)
    AND (CAST(:keys AS TEXT) = '' OR REPLACE(:keys, :mark || key_id || :mark, '') <> :keys)
GROUP BY 1, 2, 3, 4
ORDER BY 1, 4, 2, 3 LIMIT :row_limit;

-- name: organization_usage_of_all
SELECT at / CAST(:width_ms AS BIGINT) AS bucket,
    CASE WHEN CAST(:by_account AS BIGINT) = 1 THEN account_id END AS account_id,
    CASE WHEN CAST(:by_key AS BIGINT) = 1 THEN key_id END AS key_id,
    CASE WHEN CAST(:by_model AS BIGINT) = 1 THEN model END AS model,
    COUNT(*) AS calls,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(COALESCE(SUM(cached_tokens), 0) AS BIGINT) AS cached_tokens,
    CAST(SUM(charge_microcredits) AS BIGINT) AS charge_microcredits
FROM usage_records
WHERE at >= :from_at AND at < :to_at
    AND (CAST(:accounts AS TEXT) = '' OR REPLACE(:accounts, :mark || account_id || :mark, '') <> :accounts)
    AND (CAST(:part AS TEXT) = 'all' OR (:part = 'embeddings') = (LOWER(path) LIKE '%embed%'))
    AND (CAST(:models AS TEXT) = '' OR REPLACE(:models, :mark || model || :mark, '') <> :models)
    AND (CAST(:keys AS TEXT) = '' OR REPLACE(:keys, :mark || key_id || :mark, '') <> :keys)
GROUP BY 1, 2, 3, 4
ORDER BY 1, 4, 2, 3 LIMIT :row_limit;
