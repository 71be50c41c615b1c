#!lua
-- Admits a call and sets credits aside for it: balance, budgets and rate limits are decided together, all or nothing.
-- A repeat with the same call id is answered with the same result and takes nothing. Without flags=allow-oom: when Redis is
-- out of memory no new call is admitted.
-- KEYS  1 epoch  2 account  3 limits  4 hold  5 deadlines
-- ARGV  1 epoch  2 version that the caller was read with  3 call id  4 account id  5 amount (microcredits)  6 tokens
--       7 lease (ms)  8 draft of the usage record (JSON)  then the fields of n limits (see formats.lua), then their n ceilings
-- Reply 'held', posted, held, then (remaining, ms until it is full again or begins anew) of each limit; -1: never
--       'refused', what refused (0 balance, -1 in flight, else the number of the limit), required, available,
--       ms until a retry may help or -1, then remaining and ms of each limit
--       'stale' (another version), 'unknown_account', or 'ended' (a hold of this id was there and has ended)
-- Errors EPOCH, ARGUMENT, CONFLICT (the id holds something else): nothing was changed.
-- include: numbers, clock, formats, periods
local MINUTE, MAX_SPEED = 60000, 10000000000
local call, byte, fmod, min, max = redis.call, string.byte, math.fmod, math.min, math.max
local amount, tokens, lease = whole(ARGV[5]), whole(ARGV[6]), whole(ARGV[7])
local first, count = 9, (#ARGV - 8) / 2
if not (amount and tokens and lease) or count < 0 or count % 1 ~= 0 then
  return redis.error_reply('ARGUMENT amount, tokens and lease are whole numbers')
end
if lease < 1 or lease > 86400000 then return redis.error_reply('ARGUMENT a lease is 1 ms to a day') end
if call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end
local account = call('HMGET', KEYS[2], 'credited', 'spent', 'held', 'version')
if not account[1] then return { 'unknown_account' } end
local posted, held = account[1] - account[2], tonumber(account[3])

local existing = call('GET', KEYS[4])
if existing then
  if byte(existing) ~= 72 then return { 'ended' } end
  local _, held_amount, _, step, _, held_tokens, owner = parse(HOLD, existing)
  if owner ~= ARGV[4] or held_tokens ~= tokens or (step == 0 and held_amount ~= amount) then
    return redis.error_reply('CONFLICT this call id holds something else')
  end
elseif account[4] ~= ARGV[2] then
  return { 'stale' }
end

local now = read_clock()
local function quotient(number, divisor) return (number - fmod(number, divisor)) / divisor end -- "/" rounds before floor can

-- Each limit as it stands: `available`, what this call needs of it, what it would become, and when it comes back.
local rows = count > 0 and call('HMGET', KEYS[3], unpack(ARGV, first, first + count - 1)) or {}
local available, needed, levels, marks, ceilings, refused = {}, {}, {}, {}, {}, nil
for i = 1, count do
  local ceiling, kind = whole(ARGV[first + count + i - 1]), byte(ARGV[first + i - 1])
  if not ceiling then return redis.error_reply('ARGUMENT a ceiling is a whole number') end
  local used, at
  if rows[i] then used, at = parse(USE, rows[i]) end
  if kind == 114 or kind == 116 then -- r, t: a token bucket that holds one minute's worth
    if ceiling > MAX_SPEED then return redis.error_reply('ARGUMENT a rate limit is too high') end
    local level = ceiling * MINUTE
    if used then level = min(level, used + min(max(now - at, 0), 2 * MINUTE) * ceiling) end
    levels[i], marks[i], needed[i] = level, now, kind == 114 and 1 or tokens
    available[i] = (level - level % MINUTE) / MINUTE
  elseif kind == 99 then -- c
    levels[i], marks[i], needed[i] = used or 0, 0, 1
    available[i] = ceiling - levels[i]
  elseif kind == 100 or kind == 119 or kind == 109 or kind == 97 then -- d, w, m, a
    local start = period_of(kind, now)
    if not used or at < start then used, at = 0, start end
    levels[i], marks[i], needed[i] = used, at, amount
    available[i] = ceiling - used
  else
    return redis.error_reply('ARGUMENT an unknown kind of limit')
  end
  ceilings[i] = ceiling
  if not refused and needed[i] > available[i] then refused = i end
end

-- The number of ms until limit i is full again (a bucket) or begins anew (a budget); 0 for calls at once, -1 for never.
local function reset_of(i, level)
  local kind, ceiling = byte(ARGV[first + i - 1]), ceilings[i]
  if kind == 114 or kind == 116 then
    local missing = ceiling * MINUTE - level
    return ceiling > 0 and quotient(missing + ceiling - 1, ceiling) or -1
  end
  if kind == 99 then return 0 end
  local _, finish = period_of(kind, now)
  return finish and finish * 86400000 - now or -1
end

local reply = {}
local function add_standings(taking)
  for i = 1, count do
    local kind, level = byte(ARGV[first + i - 1]), levels[i]
    if taking and (kind == 114 or kind == 116) then level = level - needed[i] * MINUTE end
    reply[#reply + 1] = taking and available[i] - needed[i] or available[i]
    reply[#reply + 1] = reset_of(i, level)
  end
  return reply
end

if existing then
  reply = { 'held', posted, held }
  return add_standings(false)
end

if amount > posted - held then
  reply = { 'refused', amount <= posted and -1 or 0, amount, posted - held, -1 }
  return add_standings(false)
end
if refused then
  local kind, retry, ceiling = byte(ARGV[first + refused - 1]), -1, ceilings[refused]
  if kind == 114 or kind == 116 then
    if needed[refused] <= ceiling then
      retry = quotient(needed[refused] * MINUTE - levels[refused] + ceiling - 1, ceiling)
    end
  elseif kind ~= 99 and needed[refused] <= ceiling then
    retry = reset_of(refused, levels[refused])
  end
  reply = { 'refused', refused, needed[refused], available[refused], retry }
  return add_standings(false)
end

-- Everything is decided; from here on only writes.
local taken, changes, deadline = '', { KEYS[3] }, now + lease
for i = 1, count do
  local field = ARGV[first + i - 1]
  local kind, level = byte(field), levels[i]
  if kind == 114 or kind == 116 then level = level - needed[i] * MINUTE else level = level + needed[i] end
  if kind ~= 114 then taken = taken .. pack(TAKEN, #field, field, ceilings[i], marks[i]) end
  changes[2 * i], changes[2 * i + 1] = field, pack(USE, level, marks[i])
end
call('SET', KEYS[4], pack(HOLD, 'H', amount, 0, 0, deadline, tokens, #ARGV[4], ARGV[4], #taken, taken) .. ARGV[8])
call('ZADD', KEYS[5], deadline, ARGV[3])
call('HSET', KEYS[2], 'held', held + amount)
if count > 0 then call('HSET', unpack(changes)) end
reply = { 'held', posted, held + amount }
return add_standings(true)
