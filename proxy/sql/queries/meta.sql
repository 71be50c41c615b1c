-- Facts about this installation: the epoch that SQL and Redis agreed on.

-- name: meta
SELECT value FROM meta WHERE key = :key;

-- name: insert_meta
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING;

-- name: set_meta
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;
