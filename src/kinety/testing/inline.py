"""Policies written out inside another document."""

from kinety.policy.document import Document, LocatedMapping


def inline_policy(document: Document, policy: LocatedMapping) -> Document:
    """A policy written inside a scenario as a document of its own, whose lines are the scenario's.

    The text is the scenario's own up to the item's end, with everything before the item blanked and
    the item moved to the left edge; block style only, which is how documents are written.
    """
    lines = document.text.splitlines()
    first, column = policy.place
    indent = column - 1
    kept = [""] * (first - 1)
    for number in range(first - 1, len(lines)):
        line = lines[number]
        bare = line.strip()
        if number > first - 1 and bare and len(line) - len(line.lstrip()) < indent:
            break
        kept.append(line[indent:] if bare else "")
    return Document(document.file, "\n".join(kept) + "\n")
