#!lua
-- Puts an account back as its ledger entries in SQL have it, without an event. Only for a rebuild: Redis has no epoch then, so
-- that no other script does anything.
-- KEYS  1 epoch  2 account  3 accounts of the partition
-- ARGV  1 account id  2 credited  3 spent  4 seq  5 version
-- Reply 'restored'
-- Errors ARGUMENT, EPOCH (there is one: Redis is in use), KNOWN (the account exists): nothing was changed.
-- include: formats, numbers
local credited, spent, seq, version = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4]), whole(ARGV[5])
if not (credited and spent and seq and version) then
  return redis.error_reply('ARGUMENT credited, spent, seq and version are whole numbers')
end
if call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('EPOCH this Redis is in use') end
if call('EXISTS', KEYS[2]) == 1 then return redis.error_reply('KNOWN the account exists') end

call('SADD', KEYS[3], ARGV[1])
call('SET', KEYS[2], pack(ACCOUNT, credited, spent, 0, seq, version))
return 'restored'
