"""What several test modules about the datapath ask for."""

import pytest

from kinety.abi import Redirect

REDIRECTS = [each for each in Redirect if each is not Redirect.NONE]


@pytest.fixture(params=REDIRECTS, ids=lambda each: each.name.lower())
def redirect(request: pytest.FixtureRequest) -> Redirect:
    """How flows get to their proxies: every way in turn."""
    found: Redirect = request.param
    return found
