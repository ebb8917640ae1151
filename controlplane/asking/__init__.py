"""What people and agents ask of an environment, whichever way they ask: the command line, MCP, a page.

answer.py     one request with a routing key, and what came back
served_by.py  `skycap-served-by`: who answered it
cause.py      why a connection failed, in words
doctor.py     is the environment whole, and what to do where it is not
"""
