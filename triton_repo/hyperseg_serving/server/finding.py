"""Whether this machine has a server to start, for `hyperseg-trt doctor`."""

from hyperseg_runtime.doctor import Finding
from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_serving.server.distribution import find_distribution


def find_server() -> Finding:
    needed_for = "serve up"
    try:
        return Finding("tritonserver", needed_for, str(find_distribution().binary), True)
    except EnvironmentMissingError as error:
        return Finding("tritonserver", needed_for, "not found", False, str(error))
