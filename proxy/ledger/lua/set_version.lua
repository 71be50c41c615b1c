#!lua flags=allow-oom
-- Raises the version of an account: holds of workers that know an older one are answered 'stale'. A version never falls.
-- KEYS  1 epoch  2 account
-- ARGV  1 epoch  2 version
-- Reply 'known', version; or 'unknown_account'
-- Errors EPOCH, ARGUMENT: nothing was changed.
-- include: numbers
local version = whole(ARGV[2])
if not version then return redis.error_reply('ARGUMENT the version is a whole number') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local known = tonumber(redis.call('HGET', KEYS[2], 'version'))
if not known then return { 'unknown_account' } end
if version > known then redis.call('HSET', KEYS[2], 'version', version) end
return { 'known', math.max(version, known) }
