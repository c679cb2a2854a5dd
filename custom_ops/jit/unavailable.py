"""What is raised when a kernel cannot be had; the caller then runs the reference."""


class KernelUnavailable(RuntimeError):
    """A kernel cannot be had here. The message is one line that says why and what would help; what a compiler said may follow it."""


class CompilerHangs(KernelUnavailable):
    """A compiler did not finish and was stopped. It would be as slow another time."""
