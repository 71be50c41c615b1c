-- Packed values: 64-bit integers, little-endian; H c0 is a string with its length before it. One string a thing makes one MGET
-- and one MSET of a whole change, which is where the time of a script goes.
-- account  credited, spent, held, seq, version
-- hold     'H', amount, checkpoint, step, deadline (ms), tokens, account id, taken; then the draft to the end
-- ended    'S' settled, 'R' released, 'X' expired or 'C' corrected; charge, tokens, account id, taken
-- taken    what a hold took of the limits that are corrected at its end, repeated: kind, ceiling, period, key
-- event    of a call's end or correction: letter as `ended`, charge, number of its ledger entry (0: none, no credits moved), the
--          entry's amount, balance before it, when (ms), account id, call id; beside it in the stream: the usage record
-- reply    to an end: letter as `ended` or 'U' (unknown), 1 where repeated, total charge of the call, posted, held
-- limit    requests, tokens: level of the bucket in 60,000ths, when (ms); concurrent: calls, 0; budgets: used, period
-- kind     r requests, t tokens (a minute), c calls at once, d w m a budget of a day, week, month, all time
-- period   days from 1970-01-01 UTC to its beginning
-- Numbers are doubles in Lua: whole and exact up to MAX. Nothing above is let in, every sum is bounded before it is made, and
-- they go to redis.call and into replies as they are (both print whole numbers exactly), never through tostring or "..".
local ACCOUNT, HOLD, ENDED = '<i8i8i8i8i8', '<c1i8i8i8i8i8Hc0Hc0', '<c1i8i8Hc0Hc0'
local TAKEN, LIMIT = '<Bi8i8Hc0', '<i8i8'
local EVENT, REPLY = '<c1i8i8i8i8i8Hc0Hc0', '<c1Bi8i8i8'
local MAX = 9007199254740991 -- 2^53 - 1
local call, pack, parse, byte = redis.call, struct.pack, struct.unpack, string.byte
