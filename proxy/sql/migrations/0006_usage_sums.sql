-- Sums of usage records, so that summaries need not read the records themselves; see proxy/records/sums.py. Kept in the same
-- commit as the records, and exactly what summing the records again would give.

-- `grain` says what a row sums: hour and day (by everything), account_day (by account alone), model_hour and model_day (by provider,
-- model, service and status alone). What it does not go by is empty, for `status` 0; a call without status has -1. `start_at`: UTC hour or day.
-- A row whose calls are 0 is of records that were overridden, and all its sums are 0.
CREATE TABLE usage_sums (
    grain TEXT NOT NULL,
    start_at BIGINT NOT NULL,
    account_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    service TEXT NOT NULL,
    status BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cost_nano_usd BIGINT NOT NULL,
    charge_microcredits BIGINT NOT NULL,
    PRIMARY KEY (grain, start_at, account_id, key_id, provider, model, service, status)
);

-- What one commit takes from the sums and adds to them, a row a record; empty between commits.
CREATE TABLE usage_changes (
    at BIGINT NOT NULL,
    account_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    service TEXT NOT NULL,
    status BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cost_nano_usd BIGINT NOT NULL,
    charge_microcredits BIGINT NOT NULL
);

INSERT INTO usage_sums
SELECT 'hour', at / 3600000 * 3600000, account_id, key_id, provider, model, service, COALESCE(status, -1), COUNT(*),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(COALESCE(cached_tokens, 0)) AS BIGINT),
    CAST(SUM(cost_nano_usd) AS BIGINT), CAST(SUM(charge_microcredits) AS BIGINT)
FROM served_calls GROUP BY at / 3600000 * 3600000, account_id, key_id, provider, model, service, COALESCE(status, -1);

INSERT INTO usage_sums
SELECT 'day', start_at / 86400000 * 86400000, account_id, key_id, provider, model, service, status, CAST(SUM(calls) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(cost_nano_usd) AS BIGINT), CAST(SUM(charge_microcredits) AS BIGINT)
FROM usage_sums WHERE grain = 'hour'
GROUP BY start_at / 86400000 * 86400000, account_id, key_id, provider, model, service, status;

INSERT INTO usage_sums
SELECT 'account_day', start_at, account_id, '', '', '', '', 0, CAST(SUM(calls) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(cost_nano_usd) AS BIGINT), CAST(SUM(charge_microcredits) AS BIGINT)
FROM usage_sums WHERE grain = 'day' GROUP BY start_at, account_id;

INSERT INTO usage_sums
SELECT 'model_hour', start_at, '', '', provider, model, service, status, CAST(SUM(calls) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(cost_nano_usd) AS BIGINT), CAST(SUM(charge_microcredits) AS BIGINT)
FROM usage_sums WHERE grain = 'hour' GROUP BY start_at, provider, model, service, status;

INSERT INTO usage_sums
SELECT 'model_day', start_at / 86400000 * 86400000, '', '', provider, model, service, status, CAST(SUM(calls) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(cost_nano_usd) AS BIGINT), CAST(SUM(charge_microcredits) AS BIGINT)
FROM usage_sums WHERE grain = 'model_hour' GROUP BY start_at / 86400000 * 86400000, provider, model, service, status;
