#!lua flags=no-writes
-- The live grants of an account as they are at this instant, in the order in which they burn.
-- KEYS  1 epoch  2 account  3 grants
-- ARGV  1 epoch
-- Reply 'known', seq, posted, held, spent up to which burning was attributed when they last changed (-1: there are none), then of
--       each grant: id, expires at (ms), priority, remaining as it was then, remaining now; or 'unknown_account'
-- Errors EPOCH
-- include: formats, grants
-- include: account
if not rows[2] then return { 'unknown_account' } end
if not value then return { 'known', seq, posted, held, -1 } end
local reply, live, stored = { 'known', seq, posted, held }, attributed(value, spent), attributed(value, -1)
reply[5] = parse('<i8', value)
local now_of = {}
for _, grant in ipairs(live) do now_of[grant.id] = grant.remaining end
for _, grant in ipairs(stored) do
  local place = #reply
  reply[place + 1], reply[place + 2], reply[place + 3] = grant.id, grant.expires, grant.priority
  reply[place + 4], reply[place + 5] = grant.remaining, now_of[grant.id] or 0
end
return reply
