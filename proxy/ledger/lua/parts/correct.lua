-- Appends to `changes` (keys and values for MSET) what the limits in `taken` become when a hold turns out to cost `more` than it
-- took (or less), `spare` tokens are given back (or were missing), and it gives up its place where `ended` is 1. A budget
-- whose period is over since the hold is left alone: the call belongs to the period that it began in.
local function correct_limits(changes, taken, more, spare, ended)
  local kinds, ceilings, periods, keys, place, count = {}, {}, {}, {}, 1, 0
  while place <= #taken do
    count = count + 1
    kinds[count], ceilings[count], periods[count], keys[count], place = parse(TAKEN, taken, place)
  end
  local uses = count > 0 and call('MGET', unpack(keys))
  for i = 1, count do
    if uses[i] then
      local kind, used, at = kinds[i], parse(LIMIT, uses[i])
      if kind == 116 then -- t: a debt is bounded by one minute's worth
        used = math.max(-60000 * ceilings[i], used + 60000 * math.max(spare, -2 * ceilings[i]))
      elseif kind == 99 then -- c
        used = math.max(0, used - ended)
      elseif at == periods[i] then
        if more > MAX - used then used = MAX else used = math.max(0, used + more) end
      end
      changes[#changes + 1] = keys[i]
      changes[#changes + 1] = pack(LIMIT, used, at)
    end
  end
end
