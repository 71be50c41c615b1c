-- Appends to `changes` (keys and values for MSET) what the limits in `taken` become when a hold turns out to cost `more` than it
-- took (or less), `spare` tokens are given back (or were missing), and it gives up its place where `ended` is 1. A budget
-- whose period is over since the hold is left alone: the call belongs to the period that it began in. Expects all these.
local place, last = 1, #changes
while place <= #taken do
  local kind, ceiling, period, key, used, at
  kind, ceiling, period, key, place = parse(TAKEN, taken, place)
  local use = call('GET', key)
  if use then
    used, at = parse(LIMIT, use)
    if kind == 116 then -- t: what comes back fills the bucket at most, and a debt is bounded by one minute's worth
      local full, after = 60000 * ceiling, used + 60000 * spare
      if spare > 0 then used = math.max(used, math.min(full, after)) else used = math.max(-full, after) end
    elseif kind == 99 then -- c
      used = math.max(0, used - ended)
    elseif at == period then
      if more > MAX - used then used = MAX else used = math.max(0, used + more) end
    end
    changes[last + 1], changes[last + 2], last = key, pack(LIMIT, used, at), last + 2
  end
end
