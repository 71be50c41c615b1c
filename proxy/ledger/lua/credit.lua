#!lua
-- Adds credits to an account, or takes them back where the amount is negative: one ledger entry, once for an operation id.
-- A repeat with the same digest gets the first answer. The answer is kept without a TTL until the recorder has committed the entry.
-- KEYS  1 epoch  2 account  3 operation  4 stream
-- ARGV  1 epoch  2 account id  3 operation id  4 kind  5 sign ('+' or '-')  6 amount (microcredits, above 0)
--       7 digest of what was asked  8 actor  9 reason  10 idempotency key
-- Reply 'credited', 1 where repeated, seq, before, after, at (ms); or 'unknown_account'
-- Errors EPOCH, ARGUMENT, CONFLICT (another digest), RANGE: nothing was changed.
-- include: formats, numbers
local amount, digest = whole(ARGV[6]), ARGV[7]
if not amount or amount == 0 or (ARGV[5] ~= '+' and ARGV[5] ~= '-') then
  return redis.error_reply('ARGUMENT the amount is a whole number above 0 and its sign + or -')
end
if not ARGV[10] or digest == '' then return redis.error_reply('ARGUMENT a digest and ten arguments are needed') end
-- include: account
if value then
  local first_seq, before, after, at, first_digest, owner = parse('<i8i8i8i8Hc0Hc0', value)
  if first_digest ~= digest or owner ~= ARGV[2] then
    return redis.error_reply('CONFLICT this operation was asked for with another content')
  end
  return { 'credited', 1, first_seq, before, after, at }
end
if not rows[2] then return { 'unknown_account' } end
if ARGV[5] == '-' then amount = 0 - amount end
-- Compared as differences: a sum could pass 2^53 and be rounded before it is looked at.
if amount > MAX - credited or 0 - amount > credited then
  return redis.error_reply('RANGE an account is credited between 0 and 2^53-1 microcredits in all')
end

-- include: clock
seq = seq + 1
local after = posted + amount
call('XADD', KEYS[4], '*', 'kind', 'credit', 'account', ARGV[2], 'operation', ARGV[3], 'seq', seq, 'entry', ARGV[4],
  'amount', amount, 'before', posted, 'after', after, 'at', now, 'actor', ARGV[8], 'reason', ARGV[9],
  'idempotency_key', ARGV[10])
call('MSET', KEYS[2], pack(ACCOUNT, credited + amount, spent, held, seq, version),
  KEYS[3], pack('<i8i8i8i8Hc0Hc0', seq, posted, after, now, #digest, digest, #ARGV[2], ARGV[2]))
return { 'credited', 0, seq, posted, after, now }
