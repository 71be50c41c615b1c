#!lua flags=no-writes
-- Open holds of a partition, the soonest deadline first, from a place on: of one account, or of all.
-- KEYS  1 epoch  2 deadlines
-- ARGV  1 epoch  2 the partition's key prefix  3 deadline (ms)  4 call id: the place, '' with 0 for the beginning
--       5 how many deadlines to look at, 6 how many holds to find, at most  7 account id, or '' for all
-- Reply 1 where there may be more, else 0; deadline and call id of the last one that was looked at; then call id,
--       account id, amount, checkpoint, deadline and draft of each hold found
-- Errors EPOCH, ARGUMENT
-- include: formats, numbers
local from, most, wanted = whole(ARGV[3]), whole(ARGV[5]), whole(ARGV[6])
if not from or not most or not wanted or not ARGV[7] then
  return redis.error_reply('ARGUMENT a place, how many, and an account')
end
if call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local rows = call('ZRANGEBYSCORE', KEYS[2], from, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local reply = { #rows >= 2 * most and 1 or 0, ARGV[3], ARGV[4] }
for i = 1, #rows, 2 do
  if #reply >= 3 + 6 * wanted then
    reply[1] = 1
    break
  end
  local call_id, deadline = rows[i], rows[i + 1]
  if tonumber(deadline) > from or call_id > ARGV[4] then
    reply[2], reply[3] = deadline, call_id
    local value = call('GET', ARGV[2] .. 'hold:' .. call_id)
    if value and byte(value) == 72 then
      local _, amount, checkpoint, _, due, _, owner, _, place = parse(HOLD, value)
      if ARGV[7] == '' or owner == ARGV[7] then
        local last = #reply
        reply[last + 1], reply[last + 2], reply[last + 3] = call_id, owner, amount
        reply[last + 4], reply[last + 5], reply[last + 6] = checkpoint, due, string.sub(value, place)
      end
    end
  end
end
return reply
