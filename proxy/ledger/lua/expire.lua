#!lua flags=allow-oom
-- Ends a hold whose deadline has passed, by policy: at its last checkpoint, at the whole hold, or free. The record is the
-- hold's draft. The charge is cut to what can still be counted, so that every abandoned hold ends.
-- KEYS  1 epoch  2 account  3 limits  4 hold  5 deadlines  6 stream
-- ARGV  1 epoch  2 call id  3 account id  4 policy (checkpoint, hold, free)
-- Reply state, 1 where repeated, charge, posted, held (see settle.lua); or 'not_due', milliseconds until the deadline
-- Errors EPOCH, ARGUMENT, ACCOUNT: nothing was changed.
-- include: numbers, clock, formats, correct, ending
local policy = ARGV[4]
if policy ~= 'checkpoint' and policy ~= 'hold' and policy ~= 'free' then
  return redis.error_reply('ARGUMENT the policy is checkpoint, hold or free')
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local value = redis.call('GET', KEYS[4])
if not value then
  redis.call('ZREM', KEYS[5], ARGV[2]) -- a deadline without its hold would be found due for ever
  return answer_unknown()
end
if string.sub(value, 1, 1) ~= 'H' then return answer_repeat(value) end

local _, amount, checkpoint, _, deadline, _, _, _, place = parse(HOLD, value)
local now = read_clock()
if now < deadline then return { 'not_due', deadline - now } end
local charge = 0
if policy == 'checkpoint' then charge = checkpoint elseif policy == 'hold' then charge = amount end
local _, spent = read_account(KEYS[2])
charge = math.min(charge, MAX - (spent or 0))
return end_hold('X', 'expired', value, ARGV[2], ARGV[3], charge, nil, string.sub(value, place), LONG)
