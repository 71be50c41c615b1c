-- Unix milliseconds of the Redis server: the only clock for deadlines, windows and entries.
local time = redis.call('TIME')
local now = time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
