-- Where the period of a budget that holds `now` begins and ends, in days since 1970-01-01 UTC: a day, an ISO week (from
-- Monday), a calendar month, or all time (0, and no end).
local floor = math.floor

-- Days to the first of a month, counted from 1970; months after December run into the next year.
local function first_of_month(year, month)
  year = year + floor((month - 1) / 12)
  month = (month - 1) % 12 + 1
  if month <= 2 then year, month = year - 1, month + 12 end -- a year begins in March: leap days come last
  return 365 * year + floor(year / 4) - floor(year / 100) + floor(year / 400) + floor((153 * (month - 3) + 2) / 5) - 719468
end

local function period_of(kind, now)
  local day = floor(now / 86400000)
  if kind == 100 then return day, day + 1 end -- d
  if kind == 119 then -- w: day 0 was a Thursday
    local monday = day - (day + 3) % 7
    return monday, monday + 7
  end
  if kind == 109 then -- m
    local year = 1970 + floor(day / 365.2425)
    local month = 1
    while first_of_month(year, 1) > day do year = year - 1 end
    while first_of_month(year, month + 1) <= day do month = month + 1 end
    return first_of_month(year, month), first_of_month(year, month + 1)
  end
  return 0, nil -- a
end
