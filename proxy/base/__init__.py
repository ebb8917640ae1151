"""What both packages need and what knows nothing of proxies: see the modules. It imports nothing else of ours."""
