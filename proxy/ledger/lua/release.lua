#!lua flags=allow-oom
-- Ends the hold of a call that costs nothing. After an expiry it corrects the charge to zero, once; otherwise as settle.
-- KEYS  1 epoch  2 account  3 limits  4 hold  5 deadlines  6 stream
-- ARGV  1 epoch  2 call id  3 account id  4 usage record (JSON)
-- Reply state, 1 where repeated, total charge of the call, posted, held (see settle.lua)
-- Errors EPOCH, ARGUMENT, ACCOUNT, RANGE: nothing was changed.
-- include: numbers, clock, formats, correct, ending
if not ARGV[4] then return redis.error_reply('ARGUMENT four are needed') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local value = redis.call('GET', KEYS[4])
if not value then return answer_unknown() end
local state = string.sub(value, 1, 1)
if state == 'H' then return end_hold('R', 'released', value, ARGV[2], ARGV[3], 0, 0, ARGV[4], SHORT) end
if state == 'X' then return correct_expired(value, ARGV[2], ARGV[3], 0, 0, ARGV[4]) end
return answer_repeat(value)
