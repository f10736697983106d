"""The command line's exit codes; docs/reference/cli.md promises them."""

#: Done.
OK = 0
#: The agent refused, the input is bad, or an expectation was not met.
REFUSED = 1
#: Options or arguments that make no sense.
USAGE = 2
#: No agent answers, or it went away.
UNREACHABLE = 3
#: Of ``kinety run``, as of env(1): its command was not run, cannot be executed, or is not there.
NOT_RUN = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
#: Ctrl-C: 128 + SIGINT, as shells have it.
INTERRUPTED = 130
#: The reader of the output went away: 128 + SIGPIPE.
BROKEN_PIPE = 141
