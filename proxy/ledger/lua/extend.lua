#!lua flags=allow-oom
-- Renews the lease of a hold, notes its checkpoint and draft, and grows it where balance and budgets allow. An older or
-- repeated step changes nothing. A hold never shrinks.
-- KEYS  1 epoch  2 account  3 hold  4 deadlines (and the keys in the hold's `taken`, in the same slot)
-- ARGV  1 epoch  2 call id  3 account id  4 packed: step (from 1), amount in all, checkpoint (microcredits), lease (ms)
--       5 draft of the usage record
-- Reply 'extended', 1 where the hold covers the amount, the hold's amount; or 'gone'
-- Errors EPOCH, ARGUMENT, ACCOUNT: nothing was changed.
-- include: formats
local step, wanted, checkpoint, lease = parse('<i8i8i8i8', ARGV[4])
if step < 1 or step > MAX or wanted < 0 or wanted > MAX or checkpoint < 0 or checkpoint > MAX or not ARGV[5] then
  return redis.error_reply('ARGUMENT step, amount and checkpoint are whole numbers up to 2^53-1')
end
if lease < 1 or lease > 86400000 then return redis.error_reply('ARGUMENT a lease is 1 ms to a day') end
-- include: account
if found ~= 72 then return { 'gone' } end
local _, amount, _, last_step, _, tokens, owner, taken = parse(HOLD, value)
if owner ~= ARGV[3] then return redis.error_reply('ARGUMENT the hold belongs to another account') end
if not rows[2] then return redis.error_reply('ACCOUNT a hold without its account') end
if step <= last_step then return { 'extended', wanted <= amount and 1 or 0, amount } end

-- Whether every budget that the hold counts in (and whose period is not over) has room for `more`.
local function budgets_allow(more)
  local place, kind, ceiling, period, key = 1, nil, nil, nil, nil
  while place <= #taken do
    kind, ceiling, period, key, place = parse(TAKEN, taken, place)
    local use = kind ~= 116 and kind ~= 99 and call('GET', key)
    if use then
      local used, at = parse(LIMIT, use)
      if at == period and more > ceiling - used then return false end
    end
  end
  return true
end

local more, changes = math.max(0, wanted - amount), { KEYS[2], '', KEYS[3], '' }
local grows = more > 0 and more <= posted - held and budgets_allow(more)
if grows then
  local spare, ended = 0, 0
  -- include: correct
  amount, held = wanted, held + more
end
-- include: clock
local deadline = now + lease
changes[2] = pack(ACCOUNT, credited, spent, held, seq, version)
changes[4] = pack(HOLD .. 'c0', 'H', amount, checkpoint, step, deadline, tokens, #owner, owner, #taken, taken, ARGV[5])
call('MSET', unpack(changes))
call('ZADD', KEYS[4], deadline, ARGV[2])
return { 'extended', (grows or more == 0) and 1 or 0, amount }
