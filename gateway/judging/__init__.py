"""A share of a route's live answers is judged by another route, whose scores count as people's do."""
