#!lua flags=allow-oom
-- Ends the hold of a call that costs nothing. After an expiry it corrects the charge to zero, once; otherwise as settle.
-- KEYS  1 epoch  2 account  3 hold  4 deadlines  5 stream (and the keys in the hold's `taken`, in the same slot)
-- ARGV  1 epoch  2 call id  3 account id  4 usage record
-- Reply packed: how the call stands, see `reply` in parts/formats.lua
-- Errors EPOCH, ARGUMENT, ACCOUNT, RANGE: nothing was changed.
-- include: formats
if not ARGV[4] then return redis.error_reply('ARGUMENT four are needed') end
-- include: account
local letter, account, record, charge, tokens = 'R', ARGV[3], ARGV[4], 0, 0
-- include: ending
