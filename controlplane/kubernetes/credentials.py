"""Where the API server is and who we are: a service account's files within a cluster, a kubeconfig elsewhere."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from proxy.base.problems import ConfigurationError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

EXEC_SECONDS = 60.0
"""For a program that a kubeconfig names: it may ask a person to log in."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    server:  URL without a slash at its end.
    context: None where the server's certificate is not to be checked, or where there is no TLS.
    token:   called again and again, from a thread: a token may be renewed at any time. One that it gives is good for
             half a minute more. "" where there is none.
    """

    server: str
    context: ssl.SSLContext | None
    token: Callable[[], str]


def find(environ: Mapping[str, str], context: str = "", *, within: bool = True) -> Credentials:
    """Those of this process. Raises ConfigurationError.

    context: of the kubeconfig; "" takes its current one. within: the service account of a pod will do.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if host and within and not environ.get("KUBECONFIG"):
        return _of_account(host, port)
    named = [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    default = Path(environ.get("HOME", "/")) / ".kube" / "config"
    files = [file for file in named or [default] if file.exists()]
    if not files:
        where = ", ".join(map(str, named or [default]))
        raise ConfigurationError(
            [f"there is no cluster to speak to: {where} does not exist{', and this is no pod' if within else ''}"]
        )
    return _of_kubeconfig(files, context)


def _of_account(host: str, port: str) -> Credentials:
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    except OSError as error:
        raise ConfigurationError(
            [f"{ACCOUNT}/ca.crt: {error.strerror}: does this pod have a service account?"]
        ) from None
    return Credentials(server, context, lambda: (ACCOUNT / "token").read_text().strip())


def _of_kubeconfig(files: list[Path], wanted: str) -> Credentials:
    documents = [_read(file) for file in files]

    def entry(kind: str, field: str, name: str) -> tuple[dict[str, Any], Path]:
        for document, file in zip(documents, files, strict=True):
            for item in document.get(kind) or ():
                if item.get("name") == name:
                    return item.get(field) or {}, file.parent
        raise ConfigurationError([f"{', '.join(map(str, files))}: there is no {field} {name!r}"])

    current = wanted or next((str(found) for document in documents if (found := document.get("current-context"))), "")
    if not current:
        raise ConfigurationError([f"{files[0]}: has no current-context: kubectl config use-context NAME sets it"])
    context, _ = entry("contexts", "context", current)
    cluster, folder = entry("clusters", "cluster", str(context.get("cluster")))
    user, of_user = entry("users", "user", str(context.get("user")))
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ConfigurationError([f"{files[0]}: the cluster of context {current!r} has no server"])
    return Credentials(server, _tls(server, cluster, folder, user, of_user), _token(user, of_user))


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError([f"{file}: cannot be read: {str(error).splitlines()[0]}"]) from None
    if not isinstance(document, dict):
        raise ConfigurationError([f"{file}: is no kubeconfig"])
    return document


def _tls(
    server: str, cluster: dict[str, Any], folder: Path, user: dict[str, Any], of_user: Path
) -> ssl.SSLContext | None:
    if server.startswith("http://"):
        return None
    try:
        data = cluster.get("certificate-authority-data")
        file = cluster.get("certificate-authority")
        context = ssl.create_default_context(
            cafile=str(folder / file) if file else None, cadata=base64.b64decode(data).decode() if data else None
        )
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if user.get("client-certificate") or user.get("client-certificate-data"):
            _own_certificate(context, user, of_user)
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"the certificates of {server} cannot be used: {error}"]) from None
    return context


def _own_certificate(context: ssl.SSLContext, user: dict[str, Any], folder: Path) -> None:
    if user.get("client-certificate"):
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
        return
    with tempfile.NamedTemporaryFile() as file:  # the standard library takes certificates from files only
        file.write(
            base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
        )
        file.flush()
        context.load_cert_chain(file.name)


def _token(user: dict[str, Any], folder: Path) -> Callable[[], str]:
    if user.get("tokenFile"):
        return lambda: (folder / user["tokenFile"]).read_text().strip()
    if user.get("exec"):
        return _Exec(user["exec"])
    return lambda: str(user.get("token") or "")


class _Exec:
    """A program that gives tokens (client.authentication.k8s.io), asked again when its token ends."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._said = said
        self._token = ""
        self._ends = 0.0

    def __call__(self) -> str:
        if not self._token or time.time() > self._ends - 30:
            self._ask()
        return self._token

    def _ask(self) -> None:
        command = [str(self._said["command"]), *map(str, self._said.get("args") or ())]
        info = {"apiVersion": self._said.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
        environ = {**os.environ, **{item["name"]: item["value"] for item in self._said.get("env") or ()}}
        environ["KUBERNETES_EXEC_INFO"] = json.dumps(info)
        try:
            done = subprocess.run(  # noqa: S603 (a kubeconfig names it)
                command, capture_output=True, text=True, env=environ, timeout=EXEC_SECONDS, check=True
            )
            status = json.loads(done.stdout)["status"]
            self._token = str(status["token"])
            ends = status.get("expirationTimestamp")
            self._ends = datetime.fromisoformat(ends).timestamp() if ends else time.time() + 300
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            raise OSError(f"the kubeconfig's program {command[0]} gives no token: {error}") from None
