#!lua
-- Admits a call and sets credits aside for it: balance, budgets and rate limits are decided together, all or nothing.
-- A repeat with the same call id is answered with the same result and takes nothing. Without flags=allow-oom: when Redis is
-- out of memory no new call is admitted.
-- KEYS  1 deadlines  2 epoch  3 account  4 hold  then one of each limit
-- ARGV  1 epoch  2 call id  3 account id  4 packed: version that the caller was read with, amount (microcredits), tokens,
--       lease (ms)  5 packed: kind (a byte), ceiling of each limit  6 draft of the usage record (JSON)
-- Reply 'held', posted, held, then of each limit what remains, and ms until it is whole again (-1: never)
--       'refused', what refused (0 balance, -1 in flight, else the number of the limit), required, available,
--       ms until a retry may help or -1, then of each limit as above
--       'stale' (another version), 'unknown_account', or 'ended' (a hold of this id was there and has ended)
-- Errors EPOCH, ARGUMENT, CONFLICT (the id holds something else): nothing was changed.
-- include: formats
local MINUTE, MAX_SPEED, DAY = 60000, 10000000000, 86400000
local wanted_version, amount, tokens, lease = parse('<i8i8i8i8', ARGV[4])
local specification, count = ARGV[5], #KEYS - 4
if amount < 0 or amount > MAX or tokens < 0 or tokens > MAX or not ARGV[6] or #specification ~= 9 * count then
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
  if owner ~= ARGV[3] or held_tokens ~= tokens or (step == 0 and held_amount ~= amount) then
    return redis.error_reply('CONFLICT this call id holds something else')
  end
elseif version ~= wanted_version then
  return { 'stale' }
end

-- include: clock, periods
-- Exact, rounded up: "/" would round before floor could look.
local function divide_up(number, divisor)
  number = number + divisor - 1
  return (number - math.fmod(number, divisor)) / divisor
end

-- Looks at every limit: what it stands at goes into `reply`, and when `taking`, what it becomes into `changes` and `taken`.
-- The result is the first limit that refuses: its number, what is required and available, and ms until a retry may help.
local reply, changes, taken = { 'held', posted, held + amount }, { KEYS[3], '', KEYS[4], '' }, ''
local function look(taking)
  local place, refused, required, available, retry = 1, nil, nil, nil, nil
  local shown, kind, ceiling = #reply, nil, nil
  for i = 1, count do
    kind, ceiling, place = parse('<Bi8', specification, place)
    if ceiling < 0 or ceiling > MAX then error({ err = 'ARGUMENT a ceiling is from 0 to 2^53-1' }) end
    local used, at, left, reset, needed, wait = nil, nil, nil, 0, 1, -1
    if rows[3 + i] then used, at = parse(LIMIT, rows[3 + i]) end
    if kind == 114 or kind == 116 then -- r, t: a token bucket that holds one minute's worth
      if ceiling > MAX_SPEED then error({ err = 'ARGUMENT a ceiling a minute is at most 10^10' }) end
      local level = ceiling * MINUTE
      if kind == 116 then needed = tokens end
      if used then level = math.min(level, used + math.min(math.max(now - at, 0), 2 * MINUTE) * ceiling) end
      left = (level - level % MINUTE) / MINUTE
      if needed > left and needed <= ceiling then wait = divide_up(needed * MINUTE - level, ceiling) end
      used, at = level, now
      if taking and needed <= left then used = level - needed * MINUTE end
      reset = ceiling > 0 and divide_up(ceiling * MINUTE - used, ceiling) or -1
    elseif kind == 99 then -- c
      used, at = used or 0, 0
      left = ceiling - used
      if taking and left > 0 then used = used + 1 end
    elseif kind == 100 or kind == 119 or kind == 109 or kind == 97 then -- d, w, m, a
      local day = (now - now % DAY) / DAY
      local start, finish = period_of(kind, day)
      if not used or at < start then used, at = 0, start end
      needed, left = amount, ceiling - used
      reset = finish and finish * DAY - now or -1
      if needed <= ceiling then wait = reset end
      if taking and needed <= left then used = used + needed end
    else
      error({ err = 'ARGUMENT an unknown kind of limit' })
    end
    if needed > left and not refused then refused, required, available, retry = i, needed, left, wait end
    if taking then
      changes[3 + 2 * i], changes[4 + 2 * i] = KEYS[4 + i], pack(LIMIT, used, at)
      if kind ~= 114 then taken = taken .. pack(TAKEN, kind, ceiling, at, #KEYS[4 + i], KEYS[4 + i]) end
      left = left - needed
    end
    reply[shown + 2 * i - 1], reply[shown + 2 * i] = left, reset
  end
  return refused, required, available, retry
end

if existing then
  reply[3] = held
  look(false)
  return reply
end
if amount > posted - held then
  -- What is said to be available stays within what a double counts exactly.
  reply = { 'refused', amount <= posted and -1 or 0, amount, math.max(posted - held, -MAX), -1 }
  look(false)
  return reply
end
local refused, required, available, retry = look(true)
if refused then
  reply = { 'refused', refused, required, available, retry }
  look(false)
  return reply
end

changes[2] = pack(ACCOUNT, credited, spent, held + amount, seq, version)
changes[4] = pack(HOLD, 'H', amount, 0, 0, now + lease, tokens, #ARGV[3], ARGV[3], #taken, taken) .. ARGV[6]
call('MSET', unpack(changes))
call('ZADD', KEYS[1], now + lease, ARGV[2])
return reply
