#!lua
-- Takes what is left of a grant out of the balance once its time is over: one ledger entry `expiry`, once for an operation
-- id. What open holds need stays, and is asked for again with another operation id.
-- KEYS  1 epoch  2 account  3 operation  4 stream  5 grants
-- ARGV  1 epoch  2 account id  3 operation id  4 digest of what was asked  5 actor  6 reason  7 idempotency key
--       8 grant id  9 ends at (ms)
-- Reply 'expired', 1 where repeated, seq, before, after, at (ms); 'not_due', milliseconds; 'waiting', what holds keep back;
--       'ended' (nothing is left of it); or 'unknown_account'. Only 'expired' changes anything.
-- Errors EPOCH, ARGUMENT, CONFLICT (another digest): nothing was changed.
-- include: formats, numbers, grants
local digest, ends_at, word = ARGV[4], whole(ARGV[9]), 'expired'
if not ends_at or digest == '' or ARGV[8] == '' then
  return redis.error_reply('ARGUMENT a digest, a grant and the end of its time are needed')
end
-- include: account, answered
-- include: clock
if now < ends_at then return { 'not_due', ends_at - now } end
local live, mark = attributed(call('GET', KEYS[5]), spent)
local grant
for _, one in ipairs(live) do
  if one.id == ARGV[8] then grant = one end
end
if not grant then return { 'ended' } end
local amount = math.min(grant.remaining, posted - held)
if amount <= 0 then return { 'waiting', grant.remaining } end

seq = seq + 1
local after = posted - amount
grant.remaining = grant.remaining - amount
call('XADD', KEYS[4], '*', 'kind', 'credit', 'account', ARGV[2], 'operation', ARGV[3], 'seq', seq, 'entry', 'expiry',
  'amount', 0 - amount, 'before', posted, 'after', after, 'at', now, 'actor', ARGV[5], 'reason', ARGV[6],
  'idempotency_key', ARGV[7])
call('MSET', KEYS[2], pack(ACCOUNT, credited - amount, spent, held, seq, version),
  KEYS[3], pack('<i8i8i8i8Hc0Hc0', seq, posted, after, now, #digest, digest, #ARGV[2], ARGV[2]))
store_grants(KEYS[5], live, mark)
return { 'expired', 0, seq, posted, after, now }
