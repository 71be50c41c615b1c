-- Reads epoch, account and hold at once; answers when the epoch is another one. `found` is the letter of the hold or of its end.
local rows = call('MGET', KEYS[1], KEYS[2], KEYS[3])
if rows[1] ~= ARGV[1] then return redis.error_reply('EPOCH another one') end
local credited, spent, held, seq, version = 0, 0, 0, 0, 0
if rows[2] then credited, spent, held, seq, version = parse(ACCOUNT, rows[2]) end
local posted, value = credited - spent, rows[3]
local found = value and byte(value)
