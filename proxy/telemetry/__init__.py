"""What the sidecar counts and tells. Counting is adding to plain integers; everything else happens on a scrape."""
