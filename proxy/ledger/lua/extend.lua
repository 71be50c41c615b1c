#!lua flags=allow-oom
-- Renews the lease of a hold, notes its checkpoint and draft, and grows it where balance and budgets allow. An older or
-- repeated step changes nothing. A hold never shrinks.
-- KEYS  1 epoch  2 account  3 limits  4 hold  5 deadlines
-- ARGV  1 epoch  2 call id  3 account id  4 step (from 1)  5 amount in all (microcredits)  6 checkpoint (microcredits)
--       7 lease (ms)  8 draft of the usage record (JSON)
-- Reply 'extended', 1 where the hold covers the amount, the hold's amount; or 'gone'
-- Errors EPOCH, ARGUMENT, ACCOUNT: nothing was changed.
-- include: numbers, clock, formats, correct
local step, wanted, checkpoint, lease = whole(ARGV[4]), whole(ARGV[5]), whole(ARGV[6]), whole(ARGV[7])
if not (step and wanted and checkpoint and lease and ARGV[8]) then
  return redis.error_reply('ARGUMENT step, amount, checkpoint and lease are whole numbers')
end
if lease < 1 or lease > 86400000 then return redis.error_reply('ARGUMENT a lease is 1 ms to a day') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local value = redis.call('GET', KEYS[4])
if not value or string.sub(value, 1, 1) ~= 'H' then return { 'gone' } end
local _, amount, _, last_step, _, tokens, owner, taken = parse(HOLD, value)
if owner ~= ARGV[3] then return redis.error_reply('ARGUMENT the hold belongs to another account') end
if step <= last_step then return { 'extended', wanted <= amount and 1 or 0, amount } end

-- Whether every budget that the hold counts in (and whose period is not over) has room for `more`.
local function budgets_allow(more)
  local place, field, ceiling, start = 1, nil, nil, nil
  while place <= #taken do
    field, ceiling, start, place = parse(TAKEN, taken, place)
    local kind = string.byte(field)
    local row = kind ~= 116 and kind ~= 99 and redis.call('HGET', KEYS[3], field)
    if row then
      local used, at = parse(USE, row)
      if at == start and more > ceiling - used then return false end
    end
  end
  return true
end

local row = redis.call('HMGET', KEYS[2], 'credited', 'spent', 'held')
local credited, spent, held = tonumber(row[1]), tonumber(row[2]), tonumber(row[3])
if not credited then return redis.error_reply('ACCOUNT a hold without its account') end
local more = math.max(0, wanted - amount)
local grows = more > 0 and more <= credited - spent - held and budgets_allow(more)
local granted = grows or more == 0
local changes = grows and correct_limits(KEYS[3], taken, more, 0, 0)
local deadline = read_clock() + lease
if grows then
  amount = wanted
  redis.call('HSET', KEYS[2], 'held', held + more)
  if changes then redis.call('HSET', unpack(changes)) end
end
redis.call('SET', KEYS[4],
  pack(HOLD, 'H', amount, checkpoint, step, deadline, tokens, #owner, owner, #taken, taken) .. ARGV[8])
redis.call('ZADD', KEYS[5], deadline, ARGV[2])
return { 'extended', granted and 1 or 0, amount }
