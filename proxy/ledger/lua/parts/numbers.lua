-- The number that a decimal text stands for, or nil: no sign, no fraction, at most MAX.
local function whole(text)
  if text == nil or text == '' or #text > 16 or string.find(text, '%D') then return nil end
  local number = tonumber(text)
  if number > MAX then return nil end
  return number
end
