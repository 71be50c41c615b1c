#!lua
-- Gives a grant: credits that burn before bought ones, soonest expiry first. One ledger entry, once for an operation id.
-- A debt of the account burns it at once. The answer is kept without a TTL until the recorder has committed the entry.
-- KEYS  1 epoch  2 account  3 operation  4 stream  5 grants
-- ARGV  1 epoch  2 account id  3 operation id  4 amount (microcredits, above 0)  5 digest of what was asked  6 actor
--       7 reason  8 idempotency key  9 grant id  10 expires at (ms; 2^53-1: never)  11 priority  12 how many grants at most
-- Reply 'granted', 1 where repeated, seq, before, after, at (ms); 'too_many', live grants; or 'unknown_account'
-- Errors EPOCH, ARGUMENT, CONFLICT (another digest), RANGE: nothing was changed.
-- include: formats, numbers, grants
local amount, digest, word = whole(ARGV[4]), ARGV[5], 'granted'
local expires, priority, most = whole(ARGV[10]), whole(ARGV[11]), whole(ARGV[12])
if not (amount and expires and priority and most) or amount == 0 or digest == '' or ARGV[9] == '' then
  return redis.error_reply('ARGUMENT amount, expiry, priority and bound are whole numbers, the amount above 0')
end
-- include: account, answered
if amount > MAX - credited then
  return redis.error_reply('RANGE an account is credited between 0 and 2^53-1 microcredits in all')
end
local live, mark = attributed(call('GET', KEYS[5]), spent)
if #live >= most then return { 'too_many', #live } end

-- include: clock
local place = 1
for i, grant in ipairs(live) do
  local first = grant.expires < expires or (grant.expires == expires
    and (grant.priority < priority or (grant.priority == priority and grant.id < ARGV[9])))
  if first then place = i + 1 end
end
table.insert(live, place, { expires = expires, priority = priority, remaining = amount, id = ARGV[9] })
seq = seq + 1
local after = posted + amount
mark = keep_within(live, after, mark, spent)
call('XADD', KEYS[4], '*', 'kind', 'credit', 'account', ARGV[2], 'operation', ARGV[3], 'seq', seq, 'entry', 'grant',
  'amount', amount, 'before', posted, 'after', after, 'at', now, 'actor', ARGV[6], 'reason', ARGV[7],
  'idempotency_key', ARGV[8])
call('MSET', KEYS[2], pack(ACCOUNT, credited + amount, spent, held, seq, version),
  KEYS[3], pack('<i8i8i8i8Hc0Hc0', seq, posted, after, now, #digest, digest, #ARGV[2], ARGV[2]))
store_grants(KEYS[5], live, mark)
return { 'granted', 0, seq, posted, after, now }
