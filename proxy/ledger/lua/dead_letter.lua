#!lua flags=allow-oom
-- Puts an event that SQL cannot take aside, with the reason, and acknowledges it: both or neither, once.
-- KEYS  1 stream  2 dead-letter stream
-- ARGV  1 group  2 id of the event  3 reason, then the event's names and values
-- Reply 1 where it was put aside now, 0 where it had been acknowledged before
-- Errors ARGUMENT: nothing was changed.
if not ARGV[3] or (#ARGV - 3) % 2 ~= 0 then
  return redis.error_reply('ARGUMENT a group, an id, a reason and names with values are needed')
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'reason', ARGV[3], 'event', ARGV[2], unpack(ARGV, 4))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
