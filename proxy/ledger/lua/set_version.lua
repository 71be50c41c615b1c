#!lua flags=allow-oom
-- Raises the version of an account: holds of workers that know an older one are answered 'stale'. A version never falls.
-- KEYS  1 epoch  2 account
-- ARGV  1 epoch  2 version
-- Reply 'known', version; or 'unknown_account'
-- Errors EPOCH, ARGUMENT: nothing was changed.
-- include: formats, numbers
local wanted = whole(ARGV[2])
if not wanted then return redis.error_reply('ARGUMENT the version is a whole number') end
local epoch, row = unpack(call('MGET', KEYS[1], KEYS[2]))
if epoch ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

if not row then return { 'unknown_account' } end
local credited, spent, held, seq, version = parse(ACCOUNT, row)
if wanted > version then
  version = wanted
  call('SET', KEYS[2], pack(ACCOUNT, credited, spent, held, seq, version))
end
return { 'known', version }
