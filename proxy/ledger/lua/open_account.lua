#!lua
-- Makes an account at zero where it is unknown; raises the version of a known one. A version never falls.
-- KEYS  1 epoch  2 account  3 accounts of the partition
-- ARGV  1 epoch  2 account id  3 version
-- Reply 'opened' or 'known', version
-- Errors EPOCH, ARGUMENT: nothing was changed.
-- include: numbers
local version = whole(ARGV[3])
if not version then return redis.error_reply('ARGUMENT the version is a whole number') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local known = tonumber(redis.call('HGET', KEYS[2], 'version'))
redis.call('SADD', KEYS[3], ARGV[2])
if not known then
  redis.call('HSET', KEYS[2], 'credited', 0, 'spent', 0, 'held', 0, 'seq', 0, 'version', version)
  return { 'opened', version }
end
if version > known then redis.call('HSET', KEYS[2], 'version', version) end
return { 'known', math.max(version, known) }
