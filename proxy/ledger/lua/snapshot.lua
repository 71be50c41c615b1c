#!lua flags=no-writes
-- A page of a partition's accounts, each with its balance and the sum of its open holds at the same instant; or some of them.
-- KEYS  1 epoch  2 accounts of the partition  3 deadlines
-- ARGV  1 epoch  2 the partition's key prefix  3 cursor  4 page size, then account ids: when there are any, just these
-- Reply next cursor ('0' at the end; an account may come twice), then id, credited, spent, held, seq, version, number of
--       open holds, sum of open holds for each account; a missing account is left out
-- Errors EPOCH
-- include: formats
if call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local cursor, ids = '0', {}
if ARGV[5] then
  for i = 5, #ARGV do ids[i - 4] = ARGV[i] end
else
  local page = call('SSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
  cursor, ids = page[1], page[2]
end

local counts, sums = {}, {}
for _, id in ipairs(ids) do counts[id], sums[id] = 0, 0 end
for _, call_id in ipairs(call('ZRANGE', KEYS[3], 0, -1)) do
  local value = call('GET', ARGV[2] .. 'hold:' .. call_id)
  if value and string.sub(value, 1, 1) == 'H' then
    local _, amount, _, _, _, _, owner = parse(HOLD, value)
    if counts[owner] then
      counts[owner] = counts[owner] + 1
      sums[owner] = sums[owner] + amount
    end
  end
end

local reply = { cursor }
for _, id in ipairs(ids) do
  local row = call('GET', ARGV[2] .. 'account:' .. id)
  if row then
    reply[#reply + 1] = id
    for _, number in ipairs({ parse(ACCOUNT, row) }) do reply[#reply + 1] = number end
    reply[#reply] = nil -- parse ends with where it stopped
    reply[#reply + 1] = counts[id]
    reply[#reply + 1] = sums[id]
  end
end
return reply
