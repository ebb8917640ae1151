"""Kubernetes: what becomes of a pod, and how a cluster is kept as Sandboxes want it.

The injector is pure: a pod as JSON in, a pod as JSON out. The same code serves the admission webhook and
`skycap inject`.

names.py        labels, annotations and names of containers: what the parts and people agree on
annotations.py  what a pod's annotations say about its sidecar
owner.py        which workload a pod belongs to
decide.py       is this pod injected, and if not, why: one table of reasons
patch.py        the pod with its sidecar; and without it again
probes.py       probes that would only find the sidecar
jsonpatch.py    the difference of two documents (RFC 6902)
documents.py    manifests as Kubernetes reads them, and the pods within
"""
