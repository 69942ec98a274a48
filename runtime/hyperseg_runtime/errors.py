"""Everything this project raises on purpose.

HypersegError                     exit 1   unexpected
├── InputError                    exit 2   what the caller gave cannot be used
│   ├── ImageError                         the image cannot be read, or is beyond the limits
│   ├── PromptError                        the text cannot be asked
│   ├── CheckpointError                    the checkpoint is incomplete, damaged or of another family
│   └── OutputError                        the place to write to cannot be written
├── EnvironmentMissingError       exit 3   a package or device that the verb needs is not there
├── ExportError                   exit 4   a graph could not be made, or failed its lint
│   └── EngineError                        TensorRT could not make an engine of a graph
├── ParityError                   exit 5   results differ more than the tolerance allows
├── GateError                     exit 5   a quantised bundle lost more at its task than the budget allows
├── NumericsError                 exit 5   a network produced NaN or infinite values
├── BundleError                   exit 6   a bundle is damaged, too new, or does not fit this program
├── ResourceError                 exit 7   disk or memory ran out
├── AuditError                    exit 8   an engine is not what was planned
├── ServerError                   exit 9   a server failed at a request
├── UnavailableError              exit 10  a server cannot be reached, or has no room for the request now
└── PartialInputError             exit 11  part of the input could not be read; the results of the rest are written

A message says what was expected, what was found, what is available and what to do. A Notice is a warning: it is shown
and has no exit code.
"""

NOT_FINITE = "the network produced NaN or infinite values; run verify: the weights or the precision are at fault"


class HypersegError(Exception):
    exit_code = 1


class InputError(HypersegError):
    exit_code = 2


class ImageError(InputError):
    pass


class PromptError(InputError):
    pass


class CheckpointError(InputError):
    pass


class OutputError(InputError):
    pass


class EnvironmentMissingError(HypersegError):
    exit_code = 3


class ExportError(HypersegError):
    exit_code = 4


class EngineError(ExportError):
    pass


class ParityError(HypersegError):
    exit_code = 5


class GateError(HypersegError):
    exit_code = 5


class NumericsError(HypersegError):
    exit_code = 5

    def __init__(self, message: str = NOT_FINITE) -> None:
        super().__init__(message)


class BundleError(HypersegError):
    exit_code = 6


class ResourceError(HypersegError):
    exit_code = 7


class AuditError(HypersegError):
    exit_code = 8


class ServerError(HypersegError):
    exit_code = 9


class UnavailableError(HypersegError):
    exit_code = 10


class PartialInputError(HypersegError):
    exit_code = 11


class Notice(UserWarning):
    """Something that was not as the caller may think: shown as one line by the command line."""
