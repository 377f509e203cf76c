-- beat(workers; worker id, JSON of the worker and its position)
-- → milliseconds of Redis' clock
--
-- Heartbeat and acknowledgement in one. Writes the worker's own field of workers, after Redis' time: the
-- clocks of hosts differ.
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d ', milliseconds) .. ARGV[2])
return milliseconds
