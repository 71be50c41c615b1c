#!lua
-- Adds credits to an account, or takes them back where the amount is negative: one ledger entry, once for an operation id.
-- A repeat with the same digest gets the first answer. The answer is kept without a TTL until the recorder has committed the entry.
-- KEYS  1 epoch  2 account  3 operation  4 stream
-- ARGV  1 epoch  2 account id  3 operation id  4 kind  5 sign ('+' or '-')  6 amount (microcredits, above 0)
--       7 digest of what was asked  8 actor  9 reason  10 idempotency key
-- Reply 'credited', 1 where repeated, seq, before, after, at (ms); or 'unknown_account'
-- Errors EPOCH, ARGUMENT, CONFLICT (another digest), RANGE: nothing was changed.
-- include: numbers, clock
local amount, digest = whole(ARGV[6]), ARGV[7]
if not amount or amount == 0 or (ARGV[5] ~= '+' and ARGV[5] ~= '-') then
  return redis.error_reply('ARGUMENT the amount is a whole number above 0 and its sign + or -')
end
if not ARGV[10] or digest == '' then return redis.error_reply('ARGUMENT a digest and ten arguments are needed') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local ROW = '<i8i8i8i8Hc0Hc0'
local existing = redis.call('GET', KEYS[3])
if existing then
  local seq, before, after, at, first_digest, owner = struct.unpack(ROW, existing)
  if first_digest ~= digest or owner ~= ARGV[2] then
    return redis.error_reply('CONFLICT this operation was asked for with another content')
  end
  return { 'credited', 1, seq, before, after, at }
end

local row = redis.call('HMGET', KEYS[2], 'credited', 'spent', 'seq')
local credited, spent, seq = tonumber(row[1]), tonumber(row[2]), tonumber(row[3])
if not credited then return { 'unknown_account' } end
if ARGV[5] == '-' then amount = 0 - amount end
-- Compared as differences: a sum could pass 2^53 and be rounded before it is looked at.
if amount > MAX - credited or 0 - amount > credited then
  return redis.error_reply('RANGE an account is credited between 0 and 2^53-1 microcredits in all')
end

local before, at = credited - spent, read_clock()
redis.call('XADD', KEYS[4], '*', 'kind', 'credit', 'account', ARGV[2], 'operation', ARGV[3], 'seq', seq + 1,
  'entry', ARGV[4], 'amount', amount, 'before', before, 'after', before + amount, 'at', at,
  'actor', ARGV[8], 'reason', ARGV[9], 'idempotency_key', ARGV[10])
redis.call('HSET', KEYS[2], 'credited', credited + amount, 'seq', seq + 1)
redis.call('SET', KEYS[3], struct.pack(ROW, seq + 1, before, before + amount, at, #digest, digest, #ARGV[2], ARGV[2]))
return { 'credited', 0, seq + 1, before, before + amount, at }
