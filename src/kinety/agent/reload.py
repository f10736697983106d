"""Other programs under all endpoints: from a request to the datapath's reload and back."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kinety.agent.control import Control
from kinety.agent.view import configuration, program
from kinety.api.errors import refuse
from kinety.api.reload import CutOff, ReloadRequest, ReloadResult
from kinety.datapath.settings import SWITCHES, Settings
from kinety.datapath.template import packaged_object
from kinety.kernel.program import VerifierRefusal
from kinety.model.endpoint import Endpoint


def reload(control: Control, request: ReloadRequest) -> ReloadResult:
    """Do what a request asks for. Raises ApiError or, when the kernel refuses, OSError: nothing changed."""
    switches = _switches(request)
    with _refusals(request):
        elf = _object(request) if switches else _object(request) or packaged_object()
        done = control.reload(control.datapath.settings.switched(switches), elf)
    return ReloadResult(
        changed=done.changed,
        version=done.version,
        configuration=configuration(done.settings),
        before=tuple(map(program, done.before)),
        after=tuple(map(program, done.after)),
        endpoints=done.interfaces,
        load_seconds=done.load_seconds,
        move_seconds=done.move_seconds,
        cut_off=tuple(_cut_off(done.settings, (each.endpoint for each in control.endpoints.values()))),
    )


def _switches(request: ReloadRequest) -> dict[str, bool | str]:
    """The switches that a request names."""
    asked = {name: getattr(request, name) for name in SWITCHES}
    return {name: position for name, position in asked.items() if position is not None}


def _object(request: ReloadRequest) -> bytes | None:
    """The object that the request brings."""
    return None if request.object is None else base64.b64decode(request.object, validate=True)


def _cut_off(settings: Settings, endpoints: Iterable[Endpoint]) -> Iterator[CutOff]:
    held = list(endpoints)
    for version, on in ((4, settings.ipv4), (6, settings.ipv6)):
        if not on:
            addresses = ((each.ipv4, each.ipv6)[version == 6] for each in held)
            yield CutOff(version, sum(address is not None for address in addresses))


@contextmanager
def _refusals(request: ReloadRequest) -> Iterator[None]:
    """What is wrong with an object is told by its name; nothing else of a request can be."""
    file = request.file if request.object is not None else None
    try:
        yield
    except binascii.Error as error:
        raise refuse(400, f"it is not in base64: {error}", path="object") from error
    except VerifierRefusal as error:
        why = "; ".join([error.strerror or str(error), *error.__notes__])
        raise refuse(400, f"the kernel refused: {why}", file=file, log=error.log) from error
    except ValueError as error:
        raise refuse(400, str(error), file=file) from error
    except FileNotFoundError as error:
        raise refuse(503, f"{error.filename}: {error.strerror}") from error
