#!lua flags=allow-oom
-- Charges a call what it cost, in full, and ends its hold. After an expiry it corrects the charge instead, once; a repeat
-- is answered with the first result and changes nothing; an unknown call changes nothing.
-- KEYS  1 epoch  2 account  3 hold  4 deadlines  5 stream (and the keys in the hold's `taken`, in the same slot)
-- ARGV  1 epoch  2 call id  3 packed: charge (microcredits), tokens that the call used, account id  4 usage record
-- Reply packed: how the call stands, see `reply` in parts/formats.lua
-- Errors EPOCH, ARGUMENT, ACCOUNT, RANGE: nothing was changed.
-- include: formats
local charge, tokens, account = parse('<i8i8Hc0', ARGV[3])
if charge < 0 or charge > MAX or tokens < 0 or tokens > MAX or not ARGV[4] then
  return redis.error_reply('ARGUMENT charge and tokens are from 0 to 2^53-1')
end
-- include: account
local letter, record = 'S', ARGV[4]
-- include: ending
