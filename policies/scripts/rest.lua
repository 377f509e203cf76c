-- rest(lease:<name>; token, milliseconds)
-- → 1 where `token` held the lease: it is free after so long (0: at once); 0 where it held it no more
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], 'rests', 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
