-- The ends of a hold. One event carries the usage record and, where credits move, the ledger entry: they cannot part.
local SHORT, LONG = 600000, 86400000 -- milliseconds that an end is remembered, so that repeats and late results are answered

local function read_account(key)
  local row = redis.call('HMGET', key, 'credited', 'spent', 'held', 'seq')
  return tonumber(row[1]), tonumber(row[2]), tonumber(row[3]), tonumber(row[4])
end

local function add_event(stream, account, call_id, state, charge, record, now, entry)
  if entry then
    redis.call('XADD', stream, '*', 'kind', 'call', 'account', account, 'call', call_id, 'state', state, 'charge', charge,
      'seq', entry.seq, 'entry', entry.kind, 'amount', entry.amount, 'before', entry.before, 'after', entry.after,
      'at', now, 'record', record)
  else
    redis.call('XADD', stream, '*', 'kind', 'call', 'account', account, 'call', call_id, 'state', state, 'charge', charge,
      'at', now, 'record', record)
  end
end

-- KEYS as in settle.lua. `letter` and `state` name the end; `tokens` is what was counted, or nil where nobody counted.
local function end_hold(letter, state, value, call_id, account, charge, tokens, record, remembered)
  local _, amount, _, _, _, held_tokens, owner, taken = parse(HOLD, value)
  if owner ~= account then return redis.error_reply('ARGUMENT the hold belongs to another account') end
  local credited, spent, held, seq = read_account(KEYS[2])
  if not credited then return redis.error_reply('ACCOUNT a hold without its account') end
  if charge > MAX - spent then return redis.error_reply('RANGE the account has spent all that can be counted') end
  local counted = tokens or held_tokens
  local changes = correct_limits(KEYS[3], taken, charge - amount, held_tokens - counted, 1)
  local posted, now = credited - spent, read_clock()
  local entry = charge > 0
    and { seq = seq + 1, kind = 'charge', amount = 0 - charge, before = posted, after = posted - charge }
  add_event(KEYS[6], account, call_id, state, charge, record, now, entry)
  if entry then
    redis.call('HSET', KEYS[2], 'spent', spent + charge, 'held', held - amount, 'seq', seq + 1)
  else
    redis.call('HSET', KEYS[2], 'held', held - amount)
  end
  if changes then redis.call('HSET', unpack(changes)) end
  redis.call('SET', KEYS[4], pack(ENDED, letter, charge, counted, #account, account, #taken, taken), 'PX', remembered)
  redis.call('ZREM', KEYS[5], call_id)
  return { state, 0, charge, posted - charge, held - amount }
end

-- A result that comes after the reaper ended the hold: the difference is corrected, once.
local function correct_expired(value, call_id, account, charge, tokens, record)
  local _, expired_charge, expired_tokens, owner, taken = parse(ENDED, value)
  if owner ~= account then return redis.error_reply('ARGUMENT the hold belongs to another account') end
  local credited, spent, held, seq = read_account(KEYS[2])
  if not credited then return redis.error_reply('ACCOUNT a hold without its account') end
  local more = charge - expired_charge
  if more > MAX - spent or spent + more < 0 then return redis.error_reply('RANGE the correction cannot be counted') end
  local changes = correct_limits(KEYS[3], taken, more, expired_tokens - tokens, 0)
  local posted, now = credited - spent, read_clock()
  local entry = more ~= 0
    and { seq = seq + 1, kind = 'correction', amount = 0 - more, before = posted, after = posted - more }
  add_event(KEYS[6], account, call_id, 'corrected', charge, record, now, entry)
  if entry then redis.call('HSET', KEYS[2], 'spent', spent + more, 'seq', seq + 1) end
  if changes then redis.call('HSET', unpack(changes)) end
  redis.call('SET', KEYS[4], pack(ENDED, 'C', charge, tokens, #account, account, 0, ''), 'PX', LONG)
  return { 'corrected', 0, charge, posted - more, held }
end

-- The answer to a repeat: what happened the first time, and the balance as it is now.
local STATES = { S = 'settled', R = 'released', X = 'expired', C = 'corrected' }
local function answer_repeat(value)
  local letter, charge = parse(ENDED, value)
  local credited, spent, held = read_account(KEYS[2])
  return { STATES[letter], 1, charge, credited and credited - spent or 0, held or 0 }
end

local function answer_unknown()
  local credited, spent, held = read_account(KEYS[2])
  return { 'unknown', 0, 0, credited and credited - spent or 0, held or 0 }
end
