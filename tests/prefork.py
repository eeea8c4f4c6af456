"""A Python server that has imported the large packages and forks a process for each program.

A test that runs a program pays for the import of PyTorch, about a second. The server imports
PyTorch, NumPy and OpenCV once, and no module of this project: a forked program imports those
itself, under its own environment and working folder. At its end a program joins its threads, calls
its exit functions and flushes its outputs; it does not tear down PyTorch's modules, which takes a
quarter of a second, unless PREFORK_END=complete is in its environment.

    result = server().run(["-m", "surgery", "--help"], cwd=folder, env=environment)
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

PACKAGES = (
    "numpy",
    "torch",
    "cv2",
    "google.protobuf.text_format",
    "h5py",
    "skimage.io",
    "matplotlib.pyplot",
)
#: Variables that a library or the interpreter reads when it is loaded.
READ_AT_START = ("OMP_", "OPENBLAS_", "MKL_", "KMP_", "GOMP_", "LD_", "TORCH_", "MALLOC_")
READ_BY_PYTHON = ("PYTHON",)


def starts_alike(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
    """Return whether a forked process can stand for a new one with these arguments.

    Options of the interpreter, and variables that are read at its start and differ from those of
    this process, need a new process.
    """
    first = arguments[0] if arguments else ""
    if first.startswith("-") and first not in ("-m", "-c"):
        return False
    names = {name for name in {*env, *os.environ} if name != "PYTHONPATH"}
    return not any(
        name.startswith(READ_AT_START + READ_BY_PYTHON) and env.get(name) != os.environ.get(name)
        for name in names
    )


class Program:
    """A program that the server has forked; its outputs go to temporary files."""

    def __init__(self, arguments: Sequence[str], send: Callable[[List[int]], None]) -> None:
        self.arguments = list(arguments)
        # Closed by `wait`.
        self._streams = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        reports, writer = os.pipe()
        send([*(stream.fileno() for stream in self._streams), writer])
        os.close(writer)
        self._reports = os.fdopen(reports)
        self.pid = int(self._reports.readline())

    def wait_for(self, text: str, timeout: float = 60) -> None:
        """Wait until standard error has this text or the program has ended.

        Raises subprocess.TimeoutExpired after `timeout` seconds.
        """
        descriptor = self._streams[1].fileno()
        end = time.monotonic() + timeout
        while text.encode() not in os.pread(descriptor, os.fstat(descriptor).st_size, 0):
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.arguments, timeout)
            if select.select([self._reports], [], [], 0.02)[0]:
                return

    def wait(self, timeout: Optional[float] = None) -> subprocess.CompletedProcess[str]:
        """Return the program's status and its two outputs as text, once it has ended.

        Raises subprocess.TimeoutExpired if the program runs for longer than `timeout` seconds.
        """
        command = [sys.executable, *self.arguments]
        if not select.select([self._reports], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(command, timeout or 0)
        with self._reports:
            status = int(self._reports.readline())
        texts = []
        for stream in self._streams:
            with stream:
                stream.seek(0)
                texts.append(stream.read().decode())
        return subprocess.CompletedProcess(command, status, *texts)

    def kill(self) -> None:
        """Kill the program if its end has not been read yet."""
        if not self._reports.closed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Server:
    """The server's process, and the connection to it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def start(self, arguments: Sequence[str], cwd: str, env: Mapping[str, str]) -> Program:
        """Start `python ARGUMENTS` in a forked process."""
        request = json.dumps({"arguments": list(arguments), "cwd": cwd, "env": dict(env)})

        def send(descriptors: List[int]) -> None:
            line = request.encode() + b"\n"
            sent = socket.send_fds(self._socket, [line], descriptors)
            self._socket.sendall(line[sent:])

        return Program(arguments, send)

    def run(
        self, arguments: Sequence[str], cwd: str, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` and return its status and its two outputs as text."""
        return self.start(arguments, cwd, env).wait()

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait()


@functools.cache
def server() -> Server:
    """Return the server of this process of tests; it ends with the process."""
    running = Server()
    atexit.register(running.close)
    return running


def read_request(connection: socket.socket) -> Optional[Dict[str, Any]]:
    """Return the next request, with its file descriptors under `fds`; None at the end."""
    data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while data and not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return {**json.loads(data), "fds": fds} if data else None


def serve(connection: socket.socket) -> List[str]:
    """Fork for each request; return the arguments in the forked program, at the end exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request = read_request(connection)
        if request is None:
            os._exit(0)
        if os.fork() == 0:
            connection.close()
            return start(request)
        for descriptor in request["fds"]:
            os.close(descriptor)


def start(request: Mapping[str, Any]) -> List[str]:
    """Fork the program, in which this returns, and report its process number and its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, reports = request["fds"]
    process = os.fork()
    if process == 0:
        os.close(reports)
        return become({**request, "fds": streams})
    os.write(reports, f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    os.write(reports, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: Mapping[str, Any]) -> List[str]:
    """Give this process the request's outputs, working folder, environment and path."""
    for descriptor, number in zip(request["fds"], (1, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(request["env"])
    rest = [entry for entry in sys.path[1:] if entry not in before]
    search = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    arguments: List[str] = request["arguments"]
    first = "" if arguments[0] == "-c" else os.getcwd()
    if arguments[0] not in ("-m", "-c"):
        first = str(Path(arguments[0]).resolve().parent)
    sys.path[:] = [first, *search, *rest]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    return arguments


class End:
    """Ends a program, as its last exit function, without the teardown of its modules."""

    def __init__(self) -> None:
        #: None leaves the end to the interpreter.
        self.status: Optional[int] = None

    @contextlib.contextmanager
    def of_program(self) -> Iterator[None]:
        """Record the status with which the interpreter would end the program in this context."""
        complete = os.environ.get("PREFORK_END") == "complete"
        try:
            yield
        except SystemExit as leaving:
            code = 0 if leaving.code is None else leaving.code
            self.status = None if complete else code & 0xFF if isinstance(code, int) else 1
            raise
        except Exception:
            self.status = None if complete else 1
            raise
        self.status = None if complete else 0

    def __call__(self) -> None:
        if self.status is not None:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(self.status)


def execute(arguments: List[str]) -> None:
    """Run `-m MODULE`, `-c CODE` or a script with its arguments, as the interpreter does."""
    kind, rest = arguments[0], arguments[1:]
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    # Exit functions are called from the last registered to the first.
    end = End()
    atexit.register(end)
    for package in PACKAGES:
        importlib.import_module(package)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as server_socket:
        server_arguments = serve(server_socket)
    with end.of_program():
        execute(server_arguments)
