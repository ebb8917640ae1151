"""`skycap inject`: what the cluster's injector does to a pod, done to a file; and what it would not do, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, InvalidError
from controlplane.cli.output import Output, output_option
from controlplane.kubernetes.names import ENABLED, EXPLICIT, INJECT, TRANSPARENT
from controlplane.terminal import Text

DEFAULT_IMAGE = "skycap:latest"
DEFAULT_REGISTRY = "http://skycap.skycap-system.svc:7070"


@click.command(cls=Command, exits={FAILED: "--explain: no pod of the file would be injected"})
@click.option(
    "-f", "--file", required=True, metavar="FILE", help="Manifests as YAML or JSON; - for standard input.",
    show_default=False,
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Say what would be decided about each pod, and why; print no manifests.")
@click.option("--remove", is_flag=True, help="Take the sidecar out again.")
@click.option("--namespace", default="default", metavar="NAME", help="Of documents that name none.")
@click.option(
    "--mode", type=click.Choice([TRANSPARENT, EXPLICIT]), default=TRANSPARENT,
    help="Redirect connections, or move the ports' names (without NET_ADMIN).",
)  # fmt: skip
@click.option("--image", default=DEFAULT_IMAGE, metavar="IMAGE", help="Of the sidecar.")
@click.option(
    "--pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), help="Of the image.", show_default=False
)
@click.option("--registry", default=DEFAULT_REGISTRY, metavar="URL", help="Where sidecars reach the control plane.")
@output_option
def inject(
    file: str,
    explain: bool,
    remove: bool,
    namespace: str,
    mode: str,
    image: str,
    pull_policy: str | None,
    registry: str,
    output: Output,
) -> None:
    """Put a sidecar into the pods of manifests, and print the manifests.

    A namespace in the same file decides with its labels; any other counts as one that asks for sidecars. Injecting
    again changes nothing, and --remove gives back what was there.

    \b
    skycap inject -f shop.yaml | kubectl apply -f -
    skycap inject -f shop.yaml --explain
    """
    from controlplane.kubernetes.decide import decide
    from controlplane.kubernetes.decision import Decision, Installation, Namespace
    from controlplane.kubernetes.documents import Place, as_pod, dump, malformed, parse, pods_within
    from controlplane.kubernetes.patch import patched, without_sidecar

    if explain and remove:
        raise click.UsageError("--explain and --remove exclude each other")
    name, data = _read(file)
    documents = parse(data, name)
    installation = Installation(image=image, registry=registry, pull_policy=pull_policy or "", mode=mode)
    labels = {
        document["metadata"]["name"]: document["metadata"].get("labels") or {}
        for document in documents
        if isinstance(document, dict) and document.get("kind") == "Namespace" and document.get("metadata")
    }
    decided: list[tuple[Place, str, Decision]] = []
    for place in list(pods_within(documents)):
        if wrong := malformed(place.pod):
            raise InvalidError(f"{name}: {place.kind} {place.name or '(without a name)'}: {wrong}")
        within = place.namespace(namespace)
        space = Namespace(within, labels.get(within, {INJECT: ENABLED}))
        decision = decide(as_pod(place), space, installation)
        decided.append((place, within, decision))
        place.put(without_sidecar(place.pod) if remove else patched(place.pod, decision, installation))
    if not decided:
        raise InvalidError(f"{name}: holds no pod, and nothing that has a template of one")
    if explain:
        _explain(output, decided)
    else:
        output.result({"items": documents}, lambda: click.echo(dump(documents), nl=False))


def _explain(output: Output, decided: list[Any]) -> None:
    items = [
        {
            "kind": place.kind,
            "namespace": namespace,
            "name": place.name,
            "injected": decision.injection is not None,
            "reason": decision.reason.code,
            "sentence": decision.reason.sentence,
            "detail": decision.detail,
            "advice": decision.reason.advice,
            "workload": decision.injection.workload if decision.injection else "",
            "mode": decision.injection.mode if decision.injection else "",
        }
        for place, namespace, decision in decided
    ]

    def show() -> None:
        for item, (_, _, decision) in zip(items, decided, strict=True):
            style = "bold green" if item["injected"] else "bold yellow"
            line = Text(f"{item['kind']} {item['namespace']}/{item['name']}  ", "bold")
            output.say(line.append(decision.sentence(), style))
            if item["advice"]:
                output.say(f"    {item['advice']}")

    output.result({"items": items}, show)
    if not any(item["injected"] for item in items):
        raise click.exceptions.Exit(FAILED)


def _read(file: str) -> tuple[str, bytes]:
    if file == "-":
        return "standard input", sys.stdin.buffer.read()
    try:
        return file, Path(file).read_bytes()
    except OSError as error:
        raise InvalidError(f"{file}: cannot be read: {error.strerror}") from None
