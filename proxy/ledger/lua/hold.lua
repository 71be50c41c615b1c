#!lua
-- Admits a call and sets credits aside for it: balance, budgets and rate limits are decided together, all or nothing.
-- A repeat with the same call id is answered with the same result and takes nothing. Without flags=allow-oom: when Redis is
-- out of memory no new call is admitted.
-- KEYS  1 deadlines  2 epoch  3 account  4 hold  then one of each limit
-- ARGV  1 epoch  2 call id  3 packed: version that the caller was read with, amount (microcredits), tokens, lease (ms), account
--       id; then kind (a byte) and ceiling of each limit  4 draft of the usage record
-- Reply packed, where it is held: posted, held, then of each limit what remains, and ms until it is whole again (-1: never); else
--       'refused', what refused (0 balance, -1 in flight, else the number of the limit), required, available,
--       ms until a retry may help or -1, then of each limit as above
--       'stale' (another version), 'unknown_account', or 'ended' (a hold of this id was there and has ended)
-- Errors EPOCH, ARGUMENT, CONFLICT (the id holds something else): nothing was changed.
-- include: formats
local MINUTE, MAX_SPEED, DAY = 60000, 10000000000, 86400000
local asked, draft, count = ARGV[3], ARGV[4], #KEYS - 4
local wanted_version, amount, tokens, lease, account, limits_at = parse('<i8i8i8i8Hc0', asked)
if amount < 0 or amount > MAX or tokens < 0 or tokens > MAX or not draft or #asked + 1 - limits_at ~= 9 * count then
  return redis.error_reply('ARGUMENT amount and tokens are from 0 to 2^53-1, and each limit has its key')
end
if lease < 1 or lease > DAY then return redis.error_reply('ARGUMENT a lease is 1 ms to a day') end

local rows = call('MGET', unpack(KEYS, 2))
if rows[1] ~= ARGV[1] then return redis.error_reply('EPOCH another one') end
if not rows[2] then return { 'unknown_account' } end
local credited, spent, held, seq, version = parse(ACCOUNT, rows[2])
local posted, existing = credited - spent, rows[3]
if existing then
  if byte(existing) ~= 72 then return { 'ended' } end
  local _, held_amount, _, step, _, held_tokens, owner = parse(HOLD, existing)
  if owner ~= account or held_tokens ~= tokens or (step == 0 and held_amount ~= amount) then
    return redis.error_reply('CONFLICT this call id holds something else')
  end
elseif version ~= wanted_version then
  return { 'stale' }
end

-- include: clock
-- Exact, rounded up: "/" would round before floor could look.
local function divide_up(number, divisor)
  number = number + divisor - 1
  return (number - math.fmod(number, divisor)) / divisor
end

local admitted, reply = false, nil
if existing then
  reply = { posted, held }
elseif amount > posted - held then
  -- What is said to be available stays within what a double counts exactly.
  reply = { 'refused', amount <= posted and -1 or 0, amount, math.max(posted - held, -MAX), -1 }
else
  admitted, reply = true, { posted, held + amount }
end

-- Looks at every limit: what it stands at goes into `reply`, and where the call is admitted, what it becomes into `changes`
-- and `taken`. The first limit that refuses makes it look again, for a reply that says so. (No function: each value that one
-- takes from around it costs a microsecond's tenth.)
local changes, taken, refusal = { KEYS[3], '', KEYS[4], '' }, '', nil
repeat
  local place, shown, last = limits_at, #reply, #changes
  refusal = nil
  for i = 1, count do
    local kind, ceiling
    kind, ceiling, place = parse('<Bi8', asked, place)
    if ceiling < 0 or ceiling > MAX then return redis.error_reply('ARGUMENT a ceiling is from 0 to 2^53-1') end
    local used, at, left, reset, needed, wait = nil, nil, nil, 0, 1, -1
    if rows[3 + i] then used, at = parse(LIMIT, rows[3 + i]) end
    if kind == 114 or kind == 116 then -- r, t: a token bucket that holds one minute's worth
      if ceiling > MAX_SPEED then return redis.error_reply('ARGUMENT a ceiling a minute is at most 10^10') end
      local level = ceiling * MINUTE
      if kind == 116 then needed = tokens end
      if used then level = math.min(level, used + math.min(math.max(now - at, 0), 2 * MINUTE) * ceiling) end
      left = (level - level % MINUTE) / MINUTE
      if needed > left and needed <= ceiling then wait = divide_up(needed * MINUTE - level, ceiling) end
      used, at = level, now
      if admitted and needed <= left then used = level - needed * MINUTE end
      reset = ceiling > 0 and divide_up(ceiling * MINUTE - used, ceiling) or -1
    elseif kind == 99 then -- c
      used, at = used or 0, 0
      left = ceiling - used
      if admitted and left > 0 then used = used + 1 end
    elseif kind == 100 or kind == 119 or kind == 109 or kind == 97 then -- d, w, m, a
      -- include: periods
      local day = (now - now % DAY) / DAY
      local start, finish = period_of(kind, day)
      if not used or at < start then used, at = 0, start end
      needed, left = amount, ceiling - used
      reset = finish and finish * DAY - now or -1
      if needed <= ceiling then wait = reset end
      if admitted and needed <= left then used = used + needed end
    else
      return redis.error_reply('ARGUMENT an unknown kind of limit')
    end
    if admitted then
      if needed > left then
        refusal = { 'refused', i, needed, left, wait }
        break
      end
      changes[last + 1], changes[last + 2], last = KEYS[4 + i], pack(LIMIT, used, at), last + 2
      if kind ~= 114 then taken = taken .. pack(TAKEN, kind, ceiling, at, #KEYS[4 + i], KEYS[4 + i]) end
      left = left - needed
    end
    reply[shown + 2 * i - 1], reply[shown + 2 * i] = left, reset
  end
  if refusal then admitted, reply = false, refusal end
until not refusal
if reply[1] == 'refused' then return reply end

local numbers = pack('<' .. string.rep('i8', #reply), unpack(reply))
if existing then return numbers end
changes[2] = pack(ACCOUNT, credited, spent, held + amount, seq, version)
changes[4] = pack(HOLD .. 'c0', 'H', amount, 0, 0, now + lease, tokens, #account, account, #taken, taken, draft)
call('MSET', unpack(changes))
call('ZADD', KEYS[1], now + lease, ARGV[2])
return numbers
