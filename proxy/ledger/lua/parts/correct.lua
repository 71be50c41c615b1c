-- What the fields of `key` become when a hold turns out to cost `more` microcredits more (or less) than it took, used `spare`
-- tokens less (or more), and gives back its place among the calls at once where `ended` is 1. Reads only; the result are the
-- arguments of HSET, or nil. A budget whose period is over since the hold is left alone: the call belongs to the old period.
local function correct_limits(key, taken, more, spare, ended)
  if taken == '' then return nil end
  local fields, ceilings, starts, place, count = {}, {}, {}, 1, 0
  while place <= #taken do
    count = count + 1
    fields[count], ceilings[count], starts[count], place = parse(TAKEN, taken, place)
  end
  local rows = redis.call('HMGET', key, unpack(fields))
  local changes = { key }
  for i = 1, count do
    if rows[i] then
      local kind, used, at = string.byte(fields[i]), parse(USE, rows[i])
      local before = used
      if kind == 116 then -- t: debts are bounded by one minute's worth
        local capacity = ceilings[i] * 60000
        used = math.max(-capacity, used + math.max(spare, -2 * ceilings[i]) * 60000)
      elseif kind == 99 then -- c
        used = math.max(0, used - ended)
      elseif at == starts[i] then
        if more > MAX - used then used = MAX else used = math.max(0, used + more) end
      end
      if used ~= before then
        changes[#changes + 1] = fields[i]
        changes[#changes + 1] = pack(USE, used, at)
      end
    end
  end
  return changes[2] and changes
end
