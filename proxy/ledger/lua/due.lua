#!lua flags=no-writes
-- The holds whose deadline has passed, most overdue first, and how many are open.
-- KEYS  1 epoch  2 deadlines
-- ARGV  1 epoch  2 the partition's key prefix  3 how many at most
-- Reply now (ms), number of open holds, the smallest (oldest: ids are time-ordered) call id among the first thousand
--       deadlines or '', then call id and account id of each due hold
-- Errors EPOCH, ARGUMENT
-- include: formats, numbers
local most = whole(ARGV[3])
if not most then return redis.error_reply('ARGUMENT how many is a whole number') end
if call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

-- include: clock
local oldest = ''
for _, call_id in ipairs(call('ZRANGE', KEYS[2], 0, 999)) do
  if oldest == '' or call_id < oldest then oldest = call_id end
end
local reply = { now, call('ZCARD', KEYS[2]), oldest }
for _, call_id in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, most)) do
  local value, owner = call('GET', ARGV[2] .. 'hold:' .. call_id), ''
  if value and string.sub(value, 1, 1) == 'H' then
    local _, _, _, _, _, _, account = parse(HOLD, value)
    owner = account
  end
  reply[#reply + 1] = call_id
  reply[#reply + 1] = owner
end
return reply
