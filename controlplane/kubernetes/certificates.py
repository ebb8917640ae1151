"""The webhook's certificate: made by ourselves, kept in a Secret that all replicas share, renewed in time.

The API server trusts it by the `caBundle` of the webhook's configuration, which is set here as well.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path

log = logging.getLogger(__name__)

LIFE = timedelta(days=365)
RENEWED = timedelta(days=120)
"""Before its end a certificate is replaced: a replica that sleeps through a month still has a good one."""

BACKDATED = timedelta(hours=1)
"""Clocks differ."""


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM, each. authority: whom to trust."""

    certificate: bytes
    key: bytes
    authority: bytes

    @property
    def ends(self) -> datetime:
        """Raises ValueError when it is no certificate."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    def serves(self, names: list[str], now: datetime) -> bool:
        """Whether it is good for these names, and for a while."""
        try:
            found = x509.load_pem_x509_certificate(self.certificate)
            known = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            dns = known.get_values_for_type(x509.DNSName)
        except (ValueError, x509.ExtensionNotFound):
            return False
        return set(names) <= set(dns) and now + RENEWED < found.not_valid_after_utc


def make(names: list[str], now: datetime) -> Pair:
    """A certificate for these names and an authority of its own, whose key nobody keeps."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "skycap webhook authority")])

    def begun(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + LIFE)
        )

    authority = (
        begun(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(pem), private, authority.public_bytes(pem))


class Certificates:
    """
    service:       of the webhook, whose names the certificate is for.
    secret:        where it is kept.
    configuration: of the webhooks, whose bundle is set.
    given:         somebody else makes it, and sets the bundle: it is only read.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        namespace: str,
        service: str,
        secret: str,
        configuration: str,
        *,
        given: bool = False,
    ) -> None:
        self._given = given
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._names = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local"]
        self._secret = secret
        self._configuration = configuration

    async def pair(self) -> Pair:
        """The one that is good now, made if there is none. Raises KubernetesError."""
        place = path("v1", "secrets", self._secret, self._namespace)
        now = datetime.now(UTC)
        try:
            found: Object | None = await self._kubernetes.get(place)
        except KubernetesError as error:
            if error.status != 404:
                raise
            found = None
        if found is not None and (pair := _read(found)) is not None and (self._given or pair.serves(self._names, now)):
            return pair
        if self._given:
            raise KubernetesError(404, "NotFound", f"nobody has put one into the Secret {self._secret} yet")
        pair = make(self._names, now)
        document: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": found["metadata"] if found else {"name": self._secret, "namespace": self._namespace},
            "data": {name: base64.b64encode(value).decode() for name, value in _entries(pair).items()},
        }
        try:
            if found is None:
                await self._kubernetes.create(path("v1", "secrets", namespace=self._namespace), document)
            else:
                await self._kubernetes.replace(place, document)
        except KubernetesError as error:
            if error.status != 409:
                raise
            return await self.pair()  # another replica was faster
        log.info("a new certificate for the webhook, good until %s", pair.ends.date())
        return pair

    async def trust(self, pair: Pair) -> None:
        """Let the API server trust it. Raises KubernetesError."""
        if self._given:
            return
        place = path("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", self._configuration)
        found = await self._kubernetes.get(place)
        bundle = base64.b64encode(pair.authority).decode()
        hooks = found.get("webhooks") or []
        if all(hook["clientConfig"].get("caBundle") == bundle for hook in hooks):
            return
        for hook in hooks:
            hook["clientConfig"]["caBundle"] = bundle
        await self._kubernetes.replace(place, found)


def _entries(pair: Pair) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": pair.authority}


def _read(secret: Object) -> Pair | None:
    data = secret.get("data") or {}
    try:
        return Pair(*(base64.b64decode(data[name]) for name in ("tls.crt", "tls.key", "ca.crt")))
    except (KeyError, ValueError):
        return None
