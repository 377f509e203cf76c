-- track(tracks; most, track…)
-- → the number of tracks that wait
--
-- Appends to the stream tracks, which loses its oldest beyond `most` (about): it is no store, and where no gateway
-- runs nobody reads it.
for at = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 't', ARGV[at])
end
return redis.call('XLEN', KEYS[1])
