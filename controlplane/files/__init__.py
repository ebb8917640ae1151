"""Pushed files: what a person or an agent changed in a service, instead of a build of it.

    paths.py    which paths may be named
    diff.py     a unified diff, read and applied
    tree.py     the pushed files of one fork, as one object that is known by its digest
    store.py    contents and trees on the disk, by digest
    work.py     the baseline's work folder, read without following a link out of it
    lay.py      a tree laid over a work folder for one copy

The baseline's folder is never written.
"""
