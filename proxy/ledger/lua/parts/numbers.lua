-- Numbers are doubles here: whole and exact up to 2^53 - 1. Nothing above is let in, and every sum is bounded before it is
-- made. They go to redis.call and into replies as they are (both print whole numbers exactly), never through tostring or "..".
local MAX = 9007199254740991
local find = string.find
local function whole(text)
  if text == nil or text == '' or #text > 16 or find(text, '%D') then return nil end
  local number = tonumber(text)
  if number > MAX then return nil end
  return number
end
