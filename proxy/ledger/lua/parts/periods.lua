-- Where the period of a budget that holds day `day` begins and ends, in days since 1970-01-01 UTC: a day, an ISO week (from
-- Monday), a calendar month, or all time (0, and no end).
local function period_of(kind, day)
  if kind == 100 then return day, day + 1 end -- d
  if kind == 119 then -- w: day 0 was a Thursday
    local monday = day - (day + 3) % 7
    return monday, monday + 7
  end
  if kind == 97 then return 0, nil end -- a
  local floor = math.floor
  -- Days to the first of a month; years are counted from March, so that a leap day comes last.
  local function first_of(year, month)
    if month > 12 then year, month = year + 1, month - 12 end
    if month <= 2 then year, month = year - 1, month + 12 end
    return 365 * year + floor(year / 4) - floor(year / 100) + floor(year / 400) + floor((153 * (month - 3) + 2) / 5) - 719468
  end
  local year, month = 1970 + floor(day / 365.2425), 1
  while first_of(year, 1) > day do year = year - 1 end
  while first_of(year, month + 1) <= day do month = month + 1 end
  return first_of(year, month), first_of(year, month + 1)
end
