"""The bell at the agent's door: how a process of next to nothing asks the agent to do a plugin's work.

Beside the agent's socket lie a FIFO, and a file with the path by which the agent holds it open,
``/proc/PID/fd/N``. Whoever finds that path to be the FIFO knows that an agent lives, and that both see the
same processes. It then writes the number of its process into the FIFO. The agent finds everything else there:

==============  ==============================================================================
descriptor      of the process that rings
==============  ==============================================================================
`CONFIGURATION`  what it was given on standard input
`ANSWER`         a pipe, which the agent writes lines into
`BELL`           the FIFO, so that no other process is taken for it; it lets go when it is heard
==============  ==============================================================================

Its environment is that of its beginning, which Linux shows to root. The lines are: one that says the ring was
heard, the exit status, and the answer, one line of JSON that may be empty. `NOT_HERE` for a status: only the
process itself can do what it is to do. The pipe ends early when the agent does; whoever rang is
the agent's death's only other witness, and must not take a request for carried out, nor for not.

Before it is heard, the one who rings holds its own pipe open and cannot see the agent's end. It is told then
that it was heard, by nobody who will answer (`kinety.agent.bell`); and the next agent takes up the FIFO that
it finds, with those who hold it.
"""

from pathlib import Path

CONFIGURATION, ANSWER, BELL = 3, 4, 6
HEARD = b"heard\n"
NOT_HERE = b"-\n\n"


def bell(socket: Path) -> Path:
    """The FIFO of the agent with this socket."""
    return socket.with_name(f"{socket.name}.bell")


def holder(socket: Path) -> Path:
    """The file that says how the agent holds it."""
    return socket.with_name(f"{socket.name}.bell.holder")
