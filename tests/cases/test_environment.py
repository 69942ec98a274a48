"""The machine: no home, no locks, no directory fsync, another platform, packages of other names, a reader that left."""

import errno
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hyperseg_kernels import cpu_ops, native
from hyperseg_runtime import console, doctor, importable
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import BundleError, EnvironmentMissingError
from hyperseg_runtime.importable import Imported, try_import
from support import PROGRAM, RunCli

SHIM = Path(__file__).parent / "files" / "no_flock_no_fsync.c"


def command(*arguments: object) -> list[str]:
    return [*PROGRAM, *map(str, arguments)]


def test_a_bundle_in_a_folder_of_links(bundle_copy: Path, run_cli: RunCli, case: Path, tmp_path: Path) -> None:
    """The layout of the Hub's cache."""
    snapshot = tmp_path / "snapshot"
    for path in bundle_copy.rglob("*"):
        if path.is_file():
            link = snapshot / path.relative_to(bundle_copy)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    result = run_cli("run", snapshot, case / "labelme" / "photo.jpg", "cup", "--out", case / "out")
    assert result.code == 6 and "manifest.json goes through a link" in result.err
    assert f"cp -rL {snapshot} COPY" in result.err and "missing" not in result.err
    subprocess.run(["cp", "-rL", snapshot, tmp_path / "COPY"], check=True)
    Bundle.open(tmp_path / "COPY")


def test_a_bundle_fetched_without_git_lfs(bundle_copy: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (bundle_copy / "graphs" / "llm.onnx").write_bytes(pointer)
    with pytest.raises(BundleError, match=r"graphs/llm\.onnx is a Git LFS pointer.*git lfs pull"):
        Bundle.open(bundle_copy)
    (bundle_copy / "manifest.json").write_bytes(pointer)
    with pytest.raises(BundleError, match=r"manifest\.json is a Git LFS pointer"):
        Bundle.read(bundle_copy)


def test_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A uid without an entry in passwd, no HOME: the message names XDG_CACHE_HOME, doctor and --native go on."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(doctor, "MODULES", ())
    with pytest.raises(native.NativeBuildError, match="no home folder to keep it in; set XDG_CACHE_HOME"):
        native.cache_folder()
    assert cpu_ops.libraries_if_possible() == []
    monkeypatch.delenv("HYPERSEG_TRITON", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    server = next(finding for finding in doctor.examine(tmp_path) if finding.part == "tritonserver")
    assert not server.works and "XDG_CACHE_HOME" in server.advice


@pytest.mark.parametrize("verb", [("serve", "install-local"), ("serve", "up", "REPOSITORY", "BUNDLE"), ("doctor",)])
def test_verbs_without_a_home(
    run_cli: RunCli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """A uid that passwd does not know: exit 3 that says what to set, never an unexpected error."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(doctor, "MODULES", ())
    monkeypatch.setenv("PATH", "/nowhere")
    for variable in ("XDG_CACHE_HOME", "HYPERSEG_TRITON"):
        monkeypatch.delenv(variable, raising=False)
    places = {"REPOSITORY": tmp_path, "BUNDLE": tiny_bundle}
    result = run_cli(*(places.get(word, word) for word in verb))
    assert result.code == (0 if verb == ("doctor",) else 3), result.err
    assert "XDG_CACHE_HOME" in result.err + result.out


def test_no_home_with_a_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native.cache_folder() == tmp_path / "hyperseg-trt"


@pytest.fixture(scope="session")
def shim(shared_dir: Path) -> Path:
    library = shared_dir / f"no_flock_no_fsync-{os.getpid()}.so"
    compiler = native.find_compiler() if any(map(native.shutil.which, ("g++", "clang++"))) else None
    if compiler is None:
        pytest.skip("no compiler")
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", SHIM, "-o", library, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_no_directory_fsync(shim: Path, case: Path, tiny_bundle: Path, code: int) -> None:
    """SHIM_FSYNC=22 with run."""
    done = subprocess.run(
        command("run", tiny_bundle, case / "labelme" / "photo.jpg", "cup", "--out", case / "out"),
        env={**os.environ, "LD_PRELOAD": str(shim), "SHIM_FSYNC": str(code)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "") and len(list((case / "out").iterdir())) == 3


def test_no_flock(shim: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """SHIM_FLOCK=37: said, and gone on; what is locked by somebody else is still an error."""
    program = (
        "import sys; from pathlib import Path; from hyperseg_export.jobs.staging import Staging\n"
        "with Staging(Path(sys.argv[1]), False) as staging:\n"
        "    (staging.directory / 'a').write_text('x'); staging.commit(['a'])\n"
    )
    for code, ending in ((errno.ENOLCK, "let no other process write it"), (errno.EAGAIN, "wait for it to finish")):
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / f"bundle{code}"],
            env={**os.environ, "LD_PRELOAD": str(shim), "SHIM_FLOCK": str(code)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ending in done.stderr and (tmp_path / f"bundle{code}").is_dir() == (code == errno.ENOLCK)


def test_no_fcntl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: a module of Python is no package to install."""
    for name in [name for name in sys.modules if name.startswith("hyperseg_export.engine")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EnvironmentMissingError) as caught:
        console.load_extra("hyperseg_export.engine.build", "export")
    assert "pip" not in str(caught.value)
    assert "Python's module fcntl, which win32 does not have; it runs on Linux and macOS" in str(caught.value)


WITHOUT_POSIX = """
import os, sys, sysconfig
import concurrent.futures, ctypes, multiprocessing, shutil, subprocess, tempfile
import cv2, ftfy, matplotlib.font_manager, numpy, onnxruntime, PIL.Image, pycocotools.mask, pydantic, rich.console
import tokenizers, typer
sysconfig.get_config_vars()
for module in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios"):
    sys.modules[module] = None
for name in ("fork", "getuid", "killpg", "mkfifo", "O_DIRECTORY", "sched_getaffinity", "setsid", "symlink", "sysconf"):
    delattr(os, name)
posix_open = os.open
def windows_open(path, *more, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied")
    return posix_open(path, *more, **named)
os.open, sys.platform, sys.argv[0] = windows_open, "win32", "hyperseg-trt"
from hyperseg_runtime.cli.app import main
main()
"""
"""What Python on Windows lacks (docs.python.org, "Availability: Unix"), folders that cannot be opened, and its name;
the packages of others are imported before, as those for Windows are others."""


@pytest.mark.skipif(sys.platform != "linux", reason="plays another platform")
@pytest.mark.parametrize("verb", ["run", "video", "doctor"])
def test_running_bundles_needs_nothing_of_posix(tiny_bundle: Path, tmp_path: Path, case: Path, verb: str) -> None:
    out = ("--out", tmp_path / "out")
    arguments = {
        "run": ("run", tiny_bundle, case / "labelme" / "photo.jpg", "cup", "--report", *out),
        "video": ("video", tiny_bundle, case / "frames_mac", "cup", *out),
        "doctor": ("doctor", "--json"),
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, *map(str, arguments[verb])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert verb == "doctor" or len(list((tmp_path / "out").glob("*.mask.png"))) == (1 if verb == "run" else 4)


@pytest.mark.skipif(not shutil.which("unshare"), reason="no namespaces here")
def test_a_read_only_file_system(tiny_bundle: Path, tmp_path: Path, case: Path) -> None:
    """Everything but the folder for results: also the user's cache, the bundle and the program itself."""
    out = tmp_path / "out"
    out.mkdir()
    mounts = f'mount --bind {out} {out} && mount -o remount,ro,bind / && exec "$@"'
    arguments = ("run", tiny_bundle, case / "labelme" / "photo.jpg", "cup")
    for more, code in ((("--native", "--out", out), 0), (("--out", tmp_path / "other"), 2)):
        namespace = ["unshare", "--mount", "sh", "-c", f"mount --bind / / && {mounts}", "sh"]
        done = subprocess.run([*namespace, *command(*arguments, *more)], capture_output=True, text=True, check=False)
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip(done.stderr.strip())
        assert done.returncode == code, done.stderr
    assert len(list(out.iterdir())) == 3 and "Read-only file system" in done.stderr


def test_the_doctor_of_another_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(doctor, "MODULES", ())
    memory = next(finding for finding in doctor.examine(tmp_path) if finding.part == "memory")
    assert memory.found == "not known on this platform"


@pytest.mark.parametrize(
    ("packages", "advice"),
    [(("onnxruntime-gpu",), ""), (("onnxruntime", "onnxruntime-gpu"), "overwrite each other"), (("onnxruntime",), "")],
)
def test_onnxruntime_gpu_in_place_of_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, packages: tuple[str, ...], advice: str
) -> None:
    monkeypatch.setattr(importable, "packages_distributions", lambda: {"onnxruntime": list(packages)})
    finding = doctor._onnxruntime()
    assert advice in finding.advice and bool(finding.advice) == bool(advice) and finding.works is not bool(advice)
    assert ("onnxruntime-gpu" in finding.found) == ("onnxruntime-gpu" in packages)
    assert "CPUExecutionProvider" in finding.found or advice


def test_no_onnxruntime_is_a_choice_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "try_import", lambda *asked: Imported(None, (), "not installed"))
    finding = doctor._onnxruntime()
    assert not finding.works and "\n" not in finding.advice
    assert finding.advice == "pip install 'hyperseg-trt[cpu]', or 'hyperseg-trt[gpu]' for an NVIDIA GPU"


def test_what_is_there_and_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("raise ImportError('libfoo.so.1: cannot open shared object file')")
    (tmp_path / "quiet_module.py").write_text("__version__ = '4.2'")
    (tmp_path / "fatal_module.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert try_import("no_such_module") == Imported(None, (), "not installed")
    assert try_import("quiet_module") == Imported("4.2", ())
    broken = try_import("broken_module")
    assert broken.version is None and "libfoo.so.1: cannot open shared object file" in broken.shown
    assert "cannot be imported: it ended Python with -6" in try_import("fatal_module").shown or sys.platform != "linux"


def test_a_check_that_fails_is_a_finding() -> None:
    entry = EntryPoint("odd", "json:no_such_function", doctor.CHECKS)
    finding = doctor._checked(entry)
    assert (finding.part, finding.works) == ("odd", False) and "AttributeError" in finding.advice


def test_a_reader_that_left(tiny_bundle: Path) -> None:
    """`hyperseg-trt inspect BUNDLE --json | head -1`: a quiet end."""
    with subprocess.Popen(
        command("inspect", tiny_bundle, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout and done.stderr
        done.stdout.close()
        assert done.stderr.read() == b"" and done.wait() == console.READER_GONE


@pytest.mark.parametrize("options", [("--help",), ("inspect", "BUNDLE"), ("inspect", "BUNDLE", "--json")])
@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_a_terminal_that_knows_ascii_alone(tiny_bundle: Path, options: tuple[str, ...], locale: dict[str, str]) -> None:
    arguments = [tiny_bundle if option == "BUNDLE" else option for option in options]
    done = subprocess.run(command(*arguments), env={**os.environ, **locale}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.decode("ascii")
    assert options[-1] != "--json" or json.loads(printed)["format_version"] == 1


def test_json_keeps_what_the_terminal_cannot_show(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ascii:
        encoding = "ascii"
        shown = ""

        def write(self, text: str) -> None:
            text.encode("ascii")
            self.shown += text

    content = {"frame": "\udcff.jpg", "text": "čaj ☕ 🐈"}
    stream = Ascii()
    monkeypatch.setattr(sys, "stdout", stream)
    console.print_json(content)
    assert json.loads(stream.shown) == content == json.loads(console.json_bytes(content))
