"""`skycap mcp`: what an agent can ask and do, over the Model Context Protocol.

A thin adapter: the registry's client and `controlplane.asking` know how, this room says it to a model.

server.py     all of it put together, on the official SDK
command.py    the command: standard input and output, or HTTP with a bearer token (http.py)
tools/        one file for each thing that tools are about; a tool is a method with a docstring for the model
tool.py       what every tool does alike: arguments checked with every problem, failures with the next step
answer.py     what every answer is like: typed, below 8 KiB unless more was asked for (fit.py)
resources.py  the environment, each sandbox, each trace
prompts.py    the loop, and how to diagnose
app.py        the tree of a trace for hosts that show pages (MCP Apps)
"""
