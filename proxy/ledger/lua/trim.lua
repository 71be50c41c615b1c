#!lua flags=allow-oom
-- Drops the stream's entries that every group has acknowledged, oldest first, up to whole nodes of the stream: what is pending
-- or not yet read stays, whatever its age.
-- KEYS  1 stream
-- ARGV  none
-- Reply number of entries dropped, number of entries left
if redis.call('EXISTS', KEYS[1]) == 0 then return { 0, 0 } end

-- Ids are "milliseconds-sequence" and compare as two numbers.
local function split(id)
  local time, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(time), tonumber(sequence)
end

local oldest
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local fields = {}
  for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
  local needed = fields['last-delivered-id']
  if fields['pending'] > 0 then needed = redis.call('XPENDING', KEYS[1], fields['name'])[2] end
  local time, sequence = split(needed)
  local old_time, old_sequence = split(oldest or needed)
  if not oldest or time < old_time or (time == old_time and sequence < old_sequence) then oldest = needed end
end
local dropped = 0
if oldest then dropped = redis.call('XTRIM', KEYS[1], 'MINID', '~', oldest) end
return { dropped, redis.call('XLEN', KEYS[1]) }
