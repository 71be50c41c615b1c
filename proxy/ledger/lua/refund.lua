#!lua
-- Returns a settled charge, whole or in part: one ledger entry with the call's id, once for an operation id, and never more
-- in all than the call was charged. A call that expired is final from here on: a late result corrects it no more.
-- KEYS  1 epoch  2 account  3 operation  4 stream  5 what was refunded of the call  6 hold of the call
-- ARGV  1 epoch  2 account id  3 operation id  4 amount (microcredits; 0: all that is left)  5 digest of what was asked
--       6 actor  7 reason  8 idempotency key  9 call id  10 charge that SQL has, '' where it has no record
--       11 refunds of the call that SQL has, in all  12 how long to remember what was refunded (ms)
-- Reply 'refunded', 1 where repeated, seq, before, after, at (ms); 'exceeds', charge, refunded before; 'open' (the call has
--       not ended); 'unknown_call'; or 'unknown_account'
-- Errors EPOCH, ARGUMENT, CONFLICT (another digest), RANGE: nothing was changed.
-- include: formats, numbers
local amount, digest, word = whole(ARGV[4]), ARGV[5], 'refunded'
local charge, refunded, remembered = whole(ARGV[10]), whole(ARGV[11]), whole(ARGV[12])
if not (amount and refunded and remembered) or remembered == 0 or digest == '' or (ARGV[10] ~= '' and not charge) then
  return redis.error_reply('ARGUMENT amount, charge, refunds and time are whole numbers')
end
-- include: account, answered
local sum, end_of_call = unpack(call('MGET', KEYS[5], KEYS[6]))
local letter = end_of_call and byte(end_of_call)
if letter == 72 then
  local _, _, _, _, _, _, owner = parse(HOLD, end_of_call)
  if owner == ARGV[2] then return { 'open' } end
  return { 'unknown_call' }
end
local _, tokens, owner
if letter then -- newer than any record
  _, charge, tokens, owner = parse(ENDED, end_of_call)
  if owner ~= ARGV[2] then return { 'unknown_call' } end
end
if not charge then return { 'unknown_call' } end
if sum then refunded = math.max(refunded, (parse('<i8', sum))) end
if amount == 0 then amount = charge - refunded end
if amount <= 0 or amount > charge - refunded then return { 'exceeds', charge, refunded } end
if amount > MAX - credited then
  return redis.error_reply('RANGE an account is credited between 0 and 2^53-1 microcredits in all')
end

-- include: clock
seq = seq + 1
local after = posted + amount
call('XADD', KEYS[4], '*', 'kind', 'credit', 'account', ARGV[2], 'operation', ARGV[3], 'call', ARGV[9], 'seq', seq,
  'entry', 'refund', 'amount', amount, 'before', posted, 'after', after, 'at', now, 'actor', ARGV[6], 'reason', ARGV[7],
  'idempotency_key', ARGV[8])
call('MSET', KEYS[2], pack(ACCOUNT, credited + amount, spent, held, seq, version),
  KEYS[3], pack('<i8i8i8i8Hc0Hc0', seq, posted, after, now, #digest, digest, #ARGV[2], ARGV[2]))
call('PSETEX', KEYS[5], remembered, pack('<i8', refunded + amount))
if letter == 88 then
  call('SET', KEYS[6], pack(ENDED, 'C', charge, tokens, #owner, owner, 0, ''), 'KEEPTTL')
end
return { 'refunded', 0, seq, posted, after, now }
