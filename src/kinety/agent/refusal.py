"""The request boundary: what a part raised becomes what the API answers."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from kinety.agent.address_book import PoolExhausted
from kinety.agent.store import StoreError
from kinety.api.errors import ApiError, refuse
from kinety.plan.change import CapacityError
from kinety.policy.error import PolicyError


@contextmanager
def refusals() -> Iterator[None]:
    """Raises ApiError for whatever leaves the block and is no fault of the agent's."""
    try:
        yield
    except ApiError:
        raise
    except PolicyError as error:
        message = f"{error.message}; {error.hint}" if error.hint else error.message
        raise refuse(
            400, message, file=error.file, line=error.line or None, path=error.path or None
        ) from error
    except (CapacityError, PoolExhausted) as error:
        raise refuse(507, str(error)) from error
    except ValueError as error:
        raise refuse(409, str(error)) from error
    except StoreError as error:
        raise refuse(503, str(error)) from error
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "unknown error")
        raise refuse(503, f"the kernel refused ({name}): {error.strerror or error}") from error
