-- breaking(breaking)
-- → {route|target, calls, failures, workers that saw failures, …}
--
-- The fleet's sums of the last 30 s as flush.lua keeps them. Writes nothing.
local this = math.floor(tonumber(redis.call('TIME')[1]) / 10)
local fields, answer = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #fields, 2 do
  local calls, failures, workers, seen = 0, 0, 0, {}
  for _, bucket in ipairs(cmsgpack.unpack(fields[i + 1])) do
    if bucket[1] > this - 3 and bucket[1] <= this then
      calls, failures = calls + bucket[2], failures + bucket[3]
      for _, name in ipairs(bucket[4]) do
        workers = workers + (seen[name] and 0 or 1)
        seen[name] = true
      end
    end
  end
  if calls > 0 then
    for _, value in ipairs({fields[i], calls, failures, workers}) do answer[#answer + 1] = value end
  end
end
return answer
