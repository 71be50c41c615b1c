#!lua
-- Makes an account at zero where it is unknown; raises the version of a known one. A version never falls.
-- KEYS  1 epoch  2 account  3 accounts of the partition
-- ARGV  1 epoch  2 account id  3 version
-- Reply 'opened' or 'known', version
-- Errors EPOCH, ARGUMENT: nothing was changed.
-- include: formats, numbers
local wanted = whole(ARGV[3])
if not wanted then return redis.error_reply('ARGUMENT the version is a whole number') end
local epoch, row = unpack(call('MGET', KEYS[1], KEYS[2]))
if epoch ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

call('SADD', KEYS[3], ARGV[2])
if not row then
  call('SET', KEYS[2], pack(ACCOUNT, 0, 0, 0, 0, wanted))
  return { 'opened', wanted }
end
local credited, spent, held, seq, version = parse(ACCOUNT, row)
if wanted > version then
  version = wanted
  call('SET', KEYS[2], pack(ACCOUNT, credited, spent, held, seq, version))
end
return { 'known', version }
