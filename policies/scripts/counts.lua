-- counts(evidence:<case>…; the keys' prefix, case…)
-- → {case, evidence as a flat list, {policy id, {second…}…}, …}, as flush.lua tells it
--
-- Reads cases in one trip, with the latest seconds of each plain threshold; besides KEYS, under the prefix and in the
-- same slot, seconds:<case>:<policy id>. Cases of which nothing is known are left out.
local SECONDS_TOLD = 600        -- as in flush.lua

local function is_threshold(text)
  local fine, state = pcall(cmsgpack.unpack, text)
  return fine and type(state) == 'table' and state[1] == 'threshold'
end

local answer = {}
for i, key in ipairs(KEYS) do
  local fields = redis.call('HGETALL', key)
  local windows, case = {}, ARGV[i + 1]
  for at = 1, #fields, 2 do
    local policy = string.match(fields[at], '^d|(.*)$')
    if policy and is_threshold(fields[at + 1]) then
      windows[#windows + 1] = policy
      windows[#windows + 1] = redis.call('LRANGE', ARGV[1] .. 'seconds:' .. case .. ':' .. policy, -SECONDS_TOLD, -1)
    end
  end
  if #fields > 0 then
    for _, value in ipairs({case, fields, windows}) do answer[#answer + 1] = value end
  end
end
return answer
