-- Unix milliseconds of the Redis server: the only clock for deadlines, windows and entries.
local function read_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
end
