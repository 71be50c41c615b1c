#!lua flags=allow-oom
-- Brings the deadline of an open hold forward to now, so that `expire` ends it. Whatever else the call id stands for is left alone.
-- KEYS  1 epoch  2 account  3 hold  4 deadlines
-- ARGV  1 epoch  2 call id  3 account id
-- Reply 'due', or 'none' where the account has no open hold of this call
-- Errors EPOCH, ARGUMENT
-- include: formats
if not ARGV[3] then return redis.error_reply('ARGUMENT three are needed') end
if call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end
local value = call('GET', KEYS[3])
if not value or byte(value) ~= 72 then return { 'none' } end
local _, _, _, _, deadline, _, owner = parse(HOLD, value)
if owner ~= ARGV[3] then return { 'none' } end

-- include: clock
if deadline > now then
  -- The deadline is the fifth of the packed values: a letter and three integers stand before it.
  call('SET', KEYS[3], string.sub(value, 1, 25) .. pack('<i8', now) .. string.sub(value, 34))
  call('ZADD', KEYS[4], now, ARGV[2])
end
return { 'due' }
