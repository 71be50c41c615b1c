#!lua flags=no-writes
-- How calls of one account stand: still held, or how they ended, for as long as that is remembered.
-- KEYS  1 epoch  2 onwards holds
-- ARGV  1 epoch  2 account id
-- Reply of each hold: its letter ('H' open, 'S' settled, 'R' released, 'X' expired, 'C' corrected; '' unknown or another's),
--       then the amount that it holds or the charge that it ended with
-- Errors EPOCH
-- include: formats
local rows, reply = call('MGET', unpack(KEYS)), {}
if rows[1] ~= ARGV[1] then return redis.error_reply('EPOCH another one') end
for i = 2, #KEYS do
  local value, letter, figure, owner, _ = rows[i], '', 0, nil, nil
  if value then
    if byte(value) == 72 then
      _, figure, _, _, _, _, owner = parse(HOLD, value)
    else
      _, figure, _, owner = parse(ENDED, value)
    end
    letter = string.sub(value, 1, 1)
    if owner ~= ARGV[2] then letter, figure = '', 0 end
  end
  reply[#reply + 1], reply[#reply + 2] = letter, figure
end
return reply
