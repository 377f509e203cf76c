"""Routes whose versions somebody else decides, by any OpenFeature provider: asked, mirrored, judged, and diverted here.

    a request    elsewhere   asks what the route's provider gives      decider, loading, threads
                 tally       notes what it gave, once per user and version
    each second  sightings   all workers' notes, in Redis
                 likeness    what our flag must be to stand as the provider decides   shares (numbers)
                 likening    one worker writes that, and tells what is withdrawn here and still given there

A provider chooses; contents, measuring, judging and *withdrawn → safe* stay ours.
"""
