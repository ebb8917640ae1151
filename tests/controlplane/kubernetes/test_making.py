"""What the API server says of a patch, in the words of whoever wrote it."""

from __future__ import annotations

import pytest

from controlplane.kubernetes.client import KubernetesError
from controlplane.kubernetes.making import refusal, unpatched


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'Deployment.apps "users-a-1" is invalid: spec.template.spec.containers[1].image: Required value',
            "patch.spec.containers[1].image: Required value",
        ),
        (
            (
                'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field '
                '"spec.template.spec.containers[0].imgae"'
            ),
            'unknown field "patch.spec.containers[0].imgae"',
        ),
    ],
)
def test_the_field_is_that_of_the_patch(said: str, told: str) -> None:
    assert unpatched(said) == told


def test_what_is_forbidden_has_a_next_step_and_is_tried_again() -> None:
    """A role, which doctor examines; a quota says enough itself."""
    role = refusal(
        KubernetesError(403, "Forbidden", 'deployments.apps "a" is forbidden: User "b" cannot patch resource')
    )
    assert str(role).endswith(
        "cannot patch resource; `skycap doctor` says what the control plane may not do that it needs"
    )
    quota = refusal(KubernetesError(403, "Forbidden", 'deployments.apps "a" is forbidden: exceeded quota: few'))
    assert str(quota) == 'the cluster refuses: deployments.apps "a" is forbidden: exceeded quota: few'
    assert role.again
    assert quota.again
    assert not refusal(KubernetesError(422, "Invalid", "no")).again
