import json

import pytest
import yaml

from kinety.model.rule import Mode, PolicyKey
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_objects
from kinety.policy.promotion import promoted
from tests.unit.policy.sample import NAMESPACED, text

SPEC = "endpointSelector: {}\ningress: [{}]"
KEY = PolicyKey(NAMESPACED, "default", "sample")
STAGED = 'kinety.io/staged: "true"'


def written(metadata: str, name: str = "sample") -> str:
    return text(SPEC).replace("metadata:\n  name: sample\n", metadata).replace("sample", name)


BLOCK = written(
    f"metadata:\n  name: sample\n  annotations:\n    {STAGED}  # not yet\n    a: 'b'\n  labels: {{}}\n"
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BLOCK, BLOCK.replace(f"    {STAGED}  # not yet\n", "")),
        (
            written(f"metadata:\n  annotations:\n    {STAGED}\n  name: sample # é\n"),
            written("metadata:\n  name: sample # é\n"),
        ),
        (
            written(f"metadata:\n  name: sample\n  annotations: {{{STAGED}}} # now\n"),
            written("metadata:\n  name: sample\n"),
        ),
        (
            written(f"metadata:\n  name: sample\n  annotations: {{{STAGED}, a: b}}\n"),
            written("metadata:\n  name: sample\n  annotations: {a: b}\n"),
        ),
        (
            written(f"metadata: {{name: sample, annotations: {{a: b, {STAGED}}}}}\n"),
            written("metadata: {name: sample, annotations: {a: b}}\n"),
        ),
        (
            written(f"metadata: {{name: sample, annotations: {{{STAGED}}}}}\n"),
            written("metadata: {name: sample}\n"),
        ),
        (
            written('metadata: {name: sample, annotations: {"kinety.io/audit": "true"}}\n'),
            written("metadata: {name: sample}\n"),
        ),
    ],
)
def test_the_annotation_goes_and_the_rest_stays_as_it_was_written(before: str, after: str) -> None:
    assert promoted(Document("p.yaml", before), KEY) == Document("p.yaml", after)


def test_only_the_policy_that_is_meant() -> None:
    """Of several in a file, in their lists and in JSON."""
    metadata = f"metadata:\n  name: sample\n  annotations:\n    {STAGED}\n"
    stream = "---\n".join(written(metadata, name) for name in ("first", "sample", "last"))
    documents = [yaml.safe_load(each) for each in stream.split("---\n")]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}, indent=2)
    for before in (stream, listed):
        after = promoted(Document("p", before), KEY)
        modes = {each.key.name: each.mode for each in parse_objects([after]).policies}
        assert modes == {"first": Mode.STAGED, "sample": Mode.ENFORCED, "last": Mode.STAGED}
    assert json.loads(after.text)["items"][1]["metadata"] == {"name": "sample"}


def test_what_is_in_force_already_is_refused() -> None:
    with pytest.raises(PolicyError, match=f"{NAMESPACED}/default/sample is in force already"):
        promoted(Document("p.yaml", text(SPEC)), KEY)


def test_what_cannot_be_taken_off_alone_is_refused() -> None:
    """Two policies share their annotations by an alias."""
    first = written(f"metadata:\n  name: sample\n  annotations: &both\n    {STAGED}\n")
    items = "\n".join(f"  {line}" for line in first.splitlines())
    other = items.replace("name: sample", "name: other").replace(f"&both\n      {STAGED}", "*both")
    shared = f"apiVersion: v1\nkind: List\nitems:\n-{items[1:]}\n-{other[1:]}\n"
    with pytest.raises(PolicyError) as caught:
        promoted(Document("p.yaml", shared), KEY)
    assert caught.value.message == f"{KEY} cannot be put into force by itself"
    assert caught.value.hint == "take the annotation off in the file, and apply that"
    assert caught.value.line == 12
