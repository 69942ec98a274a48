from importlib.metadata import version

from support import RunCli


def test_the_version_is_the_packages(run_cli: RunCli) -> None:
    result = run_cli("--version")
    assert (result.code, result.out, result.err) == (0, f"hyperseg-trt {version('hyperseg-trt')}\n", "")


def test_what_is_missing_is_named_in_one_sentence(run_cli: RunCli) -> None:
    result = run_cli("run")
    assert (result.code, result.out, result.err) == (2, "", "error: Missing argument 'BUNDLE'; see --help\n")
