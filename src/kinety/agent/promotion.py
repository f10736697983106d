"""Policies that are only told of, put into force."""

from kinety.agent.control import Control
from kinety.agent.declaration import parsed_to_apply
from kinety.agent.policy_change import PolicyChange
from kinety.api.errors import refuse
from kinety.model.rule import PolicyKey
from kinety.policy.document import Document
from kinety.policy.promotion import promoted


def promote(control: Control, key: PolicyKey) -> PolicyChange:
    """Put a policy into force that is staged or in audit: its document loses the annotation.

    Raises ApiError when there is none, PolicyError when it is in force or what `Control.apply` raises.
    """
    stored = control.store.policy_text(key)
    if key not in control.policies or stored is None:
        raise refuse(404, f"there is no policy {key}")
    document = promoted(Document(*stored), key)
    return control.apply([parsed_to_apply(document.file, document.text).only([key])])
