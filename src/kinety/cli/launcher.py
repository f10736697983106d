"""The plugin as runtimes run it: a few lines for the shell, and Python for what they leave to it.

Why not Python at once: `docs/decisions/0033-a-bell-at-the-door.md`. How it rings: `kinety.api.bell`.

The shell's lines are POSIX but for ``-ef`` of test, which dash, bash, BusyBox and ksh have; a shell without
it leaves everything to Python. A here-document is a pipe that needs no other process. Bash makes it a file
where it is long, and nothing at all where it is empty, so the pipe for the answer begins with a line.
"""

from pathlib import Path

from kinety.api.bell import ANSWER, BELL, CONFIGURATION, bell, holder

_PYTHON = """
import sys
sys.path.append({packages!r})
from kinety.cni.main import main
main()
"""
_SHELL = """#!/bin/sh
# Written by `kinety cni install`. The agent does the plugin's work when this rings; without it, Python does.
bell={bell}
holder={holder}
configuration=
while IFS= read -r line || [ -n "$line" ]; do
	configuration="$configuration$line
"
done
lost=
if [ -r "$holder" ] && read -r path <"$holder" && [ "$path" -ef "$bell" ]; then
	exec {configuration}<<.
$configuration
.
	exec {answer}<<.

.
	read -r _ <&{answer}
	exec {own}<>/proc/self/fd/{answer} {ring}>"$bell"
	if [ -p /proc/self/fd/{own} ] && echo "$$" >&{ring} && read -r _ <&{answer}; then
		# From here on only the agent can write into the pipe, and its end is the agent's.
		exec {own}>&- {ring}>&-
		if read -r status <&{answer} && read -r answer <&{answer}; then
			if [ "$status" != - ]; then
				[ -z "$answer" ] || printf '%s\\n' "$answer"
				exit "$status"
			fi
		else
			lost=lost
		fi
	fi
	exec {configuration}<&- {answer}<&-
fi
exec {python} -IS -c {program} $lost <<.
$configuration
.
"""
_OWN = 5


def launcher(python: str, packages: str, socket: Path) -> str:
    """The text of the executable.

    ``python`` is the interpreter's path, ``packages`` where Kinety is, ``socket`` the agent's.
    """
    return _SHELL.format(
        bell=_quoted(bell(socket)),
        holder=_quoted(holder(socket)),
        configuration=CONFIGURATION,
        answer=ANSWER,
        own=_OWN,
        ring=BELL,
        python=_quoted(python),
        # Isolated and without site: nothing of the environment, and a third of the start-up time is gone.
        program=_quoted(_PYTHON.format(packages=packages)),
    )


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "'\\''") + "'"
