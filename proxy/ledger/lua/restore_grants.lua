#!lua
-- Puts the live grants of an account back as its entries in SQL have them. Only for a rebuild: Redis has no epoch then.
-- KEYS  1 epoch  2 grants
-- ARGV  1 spent up to which burning was attributed, then of each grant in the order in which they burn: id, expires at,
--       priority, remaining (microcredits)
-- Reply 'restored'
-- Errors ARGUMENT, EPOCH (there is one: Redis is in use): nothing was changed.
-- include: formats, numbers, grants
local mark, live = whole(ARGV[1]), {}
if not mark or (#ARGV - 1) % 4 ~= 0 then return redis.error_reply('ARGUMENT a mark, and four words a grant') end
for i = 2, #ARGV, 4 do
  local grant = { id = ARGV[i], expires = whole(ARGV[i + 1]), priority = whole(ARGV[i + 2]), remaining = whole(ARGV[i + 3]) }
  if not (grant.expires and grant.priority and grant.remaining) then
    return redis.error_reply('ARGUMENT expiry, priority and remaining are whole numbers')
  end
  live[#live + 1] = grant
end
if call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('EPOCH this Redis is in use') end
store_grants(KEYS[2], live, mark)
return 'restored'
