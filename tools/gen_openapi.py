"""Write docs/reference/openapi.json from the route table and the classes of ``kinety.api.types``.

Usage: ``python tools/gen_openapi.py [FILE]``; a unit test demands that the committed file is the same.
"""

import json
import sys
from pathlib import Path

from kinety.api.openapi import document

DEFAULT = Path(__file__).resolve().parent.parent / "docs" / "reference" / "openapi.json"


def text() -> str:
    """The file's content."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text(), encoding="utf-8")
