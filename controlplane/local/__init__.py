"""One machine as an environment: what `skycap up` runs, also for use inside another program.

async with Environment(read_file(path), path.parent) as environment:
    await environment.ready()
    print(environment.registry_url, environment.address("frontend"))

document.py     an environment file from its text, with every problem of it
layout.py       which process listens where: ports chosen, commands and definitions made
preflight.py    what would go wrong: busy ports, missing programs and folders
state.py        the folder of one environment: its lock, its ports, its processes
supervised.py   one process that is kept running, with its output
environment.py  all of them together, from the first start to the last stop
console.py      what a person or a program reads of it
next_steps.py   what to try in it
command.py      `skycap up`
"""
