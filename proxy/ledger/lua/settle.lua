#!lua flags=allow-oom
-- Charges a call what it cost, in full, and ends its hold. After an expiry it corrects the charge instead, once; a repeat
-- is answered with the first result and changes nothing; an unknown call changes nothing.
-- KEYS  1 epoch  2 account  3 limits  4 hold  5 deadlines  6 stream
-- ARGV  1 epoch  2 call id  3 account id  4 charge (microcredits)  5 tokens that the call used  6 usage record (JSON)
-- Reply state (settled, released, expired, corrected, unknown), 1 where repeated, total charge of the call, posted, held
-- Errors EPOCH, ARGUMENT, ACCOUNT, RANGE: nothing was changed.
-- include: numbers, clock, formats, correct, ending
local charge, tokens = whole(ARGV[4]), whole(ARGV[5])
if not (charge and tokens and ARGV[6]) then return redis.error_reply('ARGUMENT charge and tokens are whole numbers') end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH another one') end

local value = redis.call('GET', KEYS[4])
if not value then return answer_unknown() end
local state = string.sub(value, 1, 1)
if state == 'H' then return end_hold('S', 'settled', value, ARGV[2], ARGV[3], charge, tokens, ARGV[6], SHORT) end
if state == 'X' then return correct_expired(value, ARGV[2], ARGV[3], charge, tokens, ARGV[6]) end
return answer_repeat(value)
