-- workers(workers)
-- → {milliseconds of Redis' clock, workers as a flat list}
--
-- Who is there, as of one instant. Writes nothing.
local now = redis.call('TIME')
return {now[1] * 1000 + math.floor(now[2] / 1000), redis.call('HGETALL', KEYS[1])}
