"""One reason instead of a hundred lines."""

from hyperseg_serving.server.log import is_failure, reasons

LOG = r"""
I1120 1 pb_stub.cc:366] "Failed to initialize Python stub: BundleError: no folder\n\nAt:\n /a.py(1)"
E1120 1 model_lifecycle.cc:642] "failed to load 'one' version 1: Internal: BundleError: no folder\n\nAt:\n /a.py(1)"
I1120 1 model_lifecycle.cc:777] "failed to load 'one'"
E1120 1 model_lifecycle.cc:642] "failed to load 'two' version 1: Internal: BundleError: no folder\n\nAt:\n /a.py(1)"
E1120 1 model_lifecycle.cc:642] "failed to load 'three' version 1: Invalid argument: unable to find backend library"
+-------+
| table |
error: creating server: Internal - failed to load all models
"""


def test_each_reason_once_with_its_models() -> None:
    assert reasons(LOG).splitlines() == [
        "one, two: BundleError: no folder",
        "three: unable to find backend library",
    ]


def test_what_models_write_is_told_from_what_the_server_says_of_itself() -> None:
    written = [
        "reference 1a2b3c4d:\n",
        "Traceback (most recent call last):\n",
        '  File "a.py", line 1\n',
        LOG.splitlines()[2],
    ]
    assert all(map(is_failure, written))
    assert not any(map(is_failure, ["I1120 1 a.cc:1] x\n", "W1120 1 a.cc:1] x\n", "| a | b |\n", "+---+\n", "\n"]))


def test_otherwise_the_last_errors_and_no_tables() -> None:
    used = "E1120 1 main.cc:257] \"failed to start HTTP service: Socket '127.0.0.1:8000' already in use\""
    assert reasons(f"a\n+--+\n| b |\n{used}\nI1120 stopping\n") == used
    assert reasons("a\n+--+\n| b |\n\nc") == "a\nc"
