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
crd.py          the definitions of Sandboxes and route groups, made from the one model
webhook.py      the same for the API server; certificates.py makes and renews what it answers with

The engine of a cluster:

engine.py       what the composition root needs, in the order in which it does; settings.py what it is told
client.py       the API server: JSON in, JSON out; credentials.py who we are; informer.py list and watch, for ever
operator.py     what people write with kubectl, brought to the registry; reconciler.py does that for one kind
store.py        records as the status of resources (resources.py); kept.py keeps the rest, as ConfigMaps
launcher.py     shadows as Deployments; shadow.py says what one is, pods.py judges its pods (both pure); making.py makes
                it, shadow_pods.py sees what becomes of it, pod_log.py reads what it writes
baselines.py    what can be forked, and whether shadows are still copies of it
laid.py         pushed files in a pod, which fetch.py fetches there; kept_files.py keeps them in the cluster
lease.py        one leader among the replicas
review.py       whose token it is
"""
