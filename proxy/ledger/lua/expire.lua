#!lua flags=allow-oom
-- Ends a hold whose deadline has passed, by policy: at its last checkpoint, at the whole hold, or free. The record is the
-- hold's draft. The charge is cut to what can still be counted, so that every abandoned hold ends.
-- KEYS  1 epoch  2 account  3 hold  4 deadlines  5 stream (and the keys in the hold's `taken`, in the same slot)
-- ARGV  1 epoch  2 call id  3 account id  4 policy (checkpoint, hold, free)
-- Reply packed: how the call stands, see `reply` in parts/formats.lua; or 'not_due', milliseconds until the deadline
-- Errors EPOCH, ARGUMENT, ACCOUNT: nothing was changed.
-- include: formats
local policy = ARGV[4]
if policy ~= 'checkpoint' and policy ~= 'hold' and policy ~= 'free' then
  return redis.error_reply('ARGUMENT the policy is checkpoint, hold or free')
end
-- include: account
local letter, account, record, charge, tokens = 'X', ARGV[3], '', 0, nil
if found == 72 then
  local _, amount, checkpoint, _, deadline, _, _, _, place = parse(HOLD, value)
  -- include: clock
  if now < deadline then return { 'not_due', deadline - now } end
  record = string.sub(value, place)
  if policy == 'checkpoint' then charge = checkpoint elseif policy == 'hold' then charge = amount end
  charge = math.min(charge, MAX - spent)
elseif not found then
  call('ZREM', KEYS[4], ARGV[2]) -- a deadline without its hold would be found due for ever
end
-- include: ending
