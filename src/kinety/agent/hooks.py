"""Filters of the operator: from a request into the datapath's slots, and back as an answer."""

import base64
import binascii

from kinety.agent.control import Control
from kinety.api import hook
from kinety.api.errors import refuse
from kinety.datapath.hook_slots import Hook
from kinety.kernel.program import VerifierRefusal


def load(control: Control, name: str, request: hook.HookObject) -> hook.Hook:
    """Put an object's filters in force. Raises ApiError, OSError or CapacityError; then all is as it was."""
    try:
        elf = base64.b64decode(request.object, validate=True)
    except binascii.Error as error:
        raise refuse(400, f"object is not base64: {error}", file=request.file) from error
    try:
        loaded = control.datapath.hooks.load(name, elf)
    except VerifierRefusal as error:
        said = "; ".join(getattr(error, "__notes__", ()))
        raise refuse(400, f"a filter is refused: {said}", file=request.file, log=error.log) from error
    except ValueError as error:
        raise refuse(400, str(error), file=request.file) from error
    control.directory.name_hooks(control.datapath.hooks.names())
    return _hook(loaded)


def unload(control: Control, name: str) -> None:
    """Take filters out of force. Raises ApiError when there are none of the name."""
    if not control.datapath.hooks.unload(name):
        raise refuse(404, f"there is no hook {name}")


def listing(control: Control) -> tuple[hook.Hook, ...]:
    """Every hook, in the order in which they are asked."""
    return tuple(map(_hook, control.datapath.hooks.all()))


def _hook(found: Hook) -> hook.Hook:
    filters = tuple(
        hook.HookFilter(
            direction=point.name.lower(),
            program=program.name,
            id=program.id,
            verified_instructions=program.verified_instructions,
            jited_bytes=program.jited_bytes,
            dropped_packets=found.dropped[point].packets,
            dropped_bytes=found.dropped[point].bytes,
        )
        for point, program in found.programs.items()
    )
    return hook.Hook(found.name, found.slot, filters, found.maps, str(found.pins))
