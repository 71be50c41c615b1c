#!lua
-- Takes credits back from an account, as an operator's adjustment: bought ones before granted ones, which burn only where the
-- balance no longer covers them. One ledger entry, once for an operation id; the balance may fall below zero, unless ARGV 9 says no.
-- KEYS  1 epoch  2 account  3 operation  4 stream  5 grants
-- ARGV  1 epoch  2 account id  3 operation id  4 amount (microcredits, above 0)  5 digest of what was asked  6 actor
--       7 reason  8 idempotency key  9 '1': only what is available (neither spent nor held)
-- Reply 'taken', 1 where repeated, seq, before, after, at (ms); 'uncovered', what is available; or 'unknown_account'
-- Errors EPOCH, ARGUMENT, CONFLICT (another digest), RANGE: nothing was changed.
-- include: formats, numbers, grants
local amount, digest, word = whole(ARGV[4]), ARGV[5], 'taken'
if not amount or amount == 0 or digest == '' or not ARGV[9] then
  return redis.error_reply('ARGUMENT the amount is a whole number above 0, a digest and nine arguments are needed')
end
-- include: account, answered
if ARGV[9] == '1' and amount > posted - held then return { 'uncovered', math.max(posted - held, -MAX) } end
if amount > credited then
  return redis.error_reply('RANGE an account is credited between 0 and 2^53-1 microcredits in all')
end
local value_of_grants = call('GET', KEYS[5])
local live, mark = attributed(value_of_grants, spent)

-- include: clock
seq = seq + 1
local after = posted - amount
call('XADD', KEYS[4], '*', 'kind', 'credit', 'account', ARGV[2], 'operation', ARGV[3], 'seq', seq, 'entry', 'adjustment',
  'amount', 0 - amount, 'before', posted, 'after', after, 'at', now, 'actor', ARGV[6], 'reason', ARGV[7],
  'idempotency_key', ARGV[8])
call('MSET', KEYS[2], pack(ACCOUNT, credited - amount, spent, held, seq, version),
  KEYS[3], pack('<i8i8i8i8Hc0Hc0', seq, posted, after, now, #digest, digest, #ARGV[2], ARGV[2]))
if value_of_grants then
  mark = keep_within(live, after, mark, spent)
  store_grants(KEYS[5], live, mark)
end
return { 'taken', 0, seq, posted, after, now }
