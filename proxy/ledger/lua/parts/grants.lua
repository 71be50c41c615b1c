-- Live grants of an account, in the order in which they burn: by (expires, priority, id); never is MAX. A grants value is
-- packed: the account's `spent` up to which burning was attributed, then of each grant: expires, priority, remaining, id.
-- What was spent since the last change burns at the next one: in between the set of grants is the same, so the order is.
local GRANT = '<i8i8i8Hc0'

local function burn(live, amount)
  for _, grant in ipairs(live) do
    local part = math.min(amount, grant.remaining)
    grant.remaining, amount = grant.remaining - part, amount - part
  end
end

-- The grants of `value` (nil: none) after what was spent until now, without those that are used up; and their mark.
local function attributed(value, spent)
  if not value then return {}, spent end
  local live, mark, place = {}, parse('<i8', value)
  while place <= #value do
    local grant = {}
    grant.expires, grant.priority, grant.remaining, grant.id, place = parse(GRANT, value, place)
    live[#live + 1] = grant
  end
  if spent > mark then
    burn(live, spent - mark)
    mark = spent -- never back: after a correction, spending first makes up for what has burned already
  end
  local left = {}
  for _, grant in ipairs(live) do
    if grant.remaining > 0 then left[#left + 1] = grant end
  end
  return left, mark
end

-- Grants are a part of the balance: what is above it after a change (a debt, a taking) burns as well. So are bought credits that
-- a correction gave back: what is no longer there need not be made up for, which the mark then says.
local function keep_within(live, posted, mark, spent)
  local sum, room = 0, math.max(posted, 0)
  for _, grant in ipairs(live) do sum = sum + grant.remaining end
  if sum > room then
    burn(live, sum - room)
    sum = room
  end
  return math.min(mark, spent + room - sum)
end

-- Stores the grants that are left; without any there is no key, and the mark begins anew with the next grant.
local function store_grants(key, live, mark)
  local packed = {}
  for _, grant in ipairs(live) do
    if grant.remaining > 0 then
      packed[#packed + 1] = pack(GRANT, grant.expires, grant.priority, grant.remaining, #grant.id, grant.id)
    end
  end
  if #packed == 0 then call('DEL', key) else call('SET', key, pack('<i8', mark) .. table.concat(packed)) end
end
