-- windows(totals; the keys' prefix, newest minute or 0 for this one, how many, any number of subjects)
-- → {this minute of Redis' clock, newest minute, {subject, packed measures, …} for each minute, newest first}
--
-- Reads window:<minute>, in the slot of its key; only the subjects that are named, or all. Writes nothing.
local this = math.floor(tonumber(redis.call('TIME')[1]) / 60)
local newest, wanted = tonumber(ARGV[2]), {}
if newest == 0 then newest = this end
for i = 4, #ARGV do wanted[i - 3] = ARGV[i] end
local answer = {this, newest}
for minute = newest, newest - tonumber(ARGV[3]) + 1, -1 do
  local key, fields = ARGV[1] .. 'window:' .. minute, {}
  if #wanted == 0 then
    fields = redis.call('HGETALL', key)
  else
    for i, value in ipairs(redis.call('HMGET', key, unpack(wanted))) do
      if value then
        fields[#fields + 1] = wanted[i]
        fields[#fields + 1] = value
      end
    end
  end
  answer[#answer + 1] = fields
end
return answer
