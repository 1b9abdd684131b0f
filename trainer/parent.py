"""Imports modules once and forks children that become `python SCRIPT ARGS`: the stand-alone half of a warm parent.

Nobody imports this. Its text is handed to the experiment's interpreter, `python -c TEXT TRAINER CONTROL MODULE...`, so
it uses nothing of ours and runs on Python 3.8 and later. It imports little itself: a name that is loaded here and lies
in a workspace too makes that workspace's experiment start cold.

CONTROL is a socket. On it goes out what was loaded, or why it cannot serve; each byte that comes in brings the socket
of one new child. A child says that it is ready, moves to the place that it is told, waits there for one request, and
says that it is set, or why it cannot be. The script begins when it is told to: until then the trainer may start it
elsewhere.

Children do not stay ours: the process between us and them ends at once, so they pass to the trainer, which is the
reaper of orphans among its descendants and gets their exit status and memory first hand.
"""

BARE = dict(globals(), __doc__=None)  # what `__main__` of a fresh interpreter holds
import sys

if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # the current folder, which `-c` puts there
FRESH = frozenset(sys.modules)

import _operator
import _socket
import ctypes
import gc
import os
import signal
import time
from _functools import partial  # type: ignore[import-not-found]

MARK = b"DAG_CLAIM="
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 4, 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SYS_PIDFD_OPEN = 434
NAMESPACES = (("user", 28), ("mnt", 17), ("pid", 29), ("net", 30), ("ipc", 27), ("uts", 26), ("cgroup", 25))
libc = ctypes.CDLL(None, use_errno=True)


class Begin(Exception):
    """Ends this program's own code, so that the script begins below no frame of it."""


# --- messages: a length of four bytes, then groups of texts, each group its count and its texts, all ended by NUL ---


def pack(*groups: "list[bytes]") -> bytes:
    items = [item for group in groups for item in (b"%d" % len(group), *group)]
    body = b"".join(item + b"\0" for item in items)
    return len(body).to_bytes(4, "little") + body


def unpack(body: bytes) -> "list[list[bytes]]":
    items = iter(body.split(b"\0")[:-1])
    return [[next(items) for _ in range(int(count))] for count in items]


def receive(sock: _socket.socket) -> "tuple[list[list[bytes]], list[int]]":
    """The groups and the file descriptors that came with them; no groups at the end of the stream."""
    head, ancillary, _, _ = sock.recvmsg(4, _socket.CMSG_SPACE(4))
    handles = [int.from_bytes(data[:4], sys.byteorder) for _, _, data in ancillary]  # one at most is sent at a time
    if len(head) < 4:
        return [], handles
    body, size = b"", int.from_bytes(head, "little")
    while len(body) < size:
        chunk = sock.recv(size - len(body))
        if not chunk:
            return [], handles
        body += chunk
    return unpack(body), handles


# --- the parent ---


def load(names: "list[str]") -> str:
    """What keeps these modules from serving, empty if nothing does."""
    try:
        for name in names:
            __import__(name)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if any(target.startswith(("/dev/nvidia", "/dev/kfd")) for target in map(target_of, os.listdir("/proc/self/fd"))):
        return "the GPU is in use after the imports, and would not work in a child"
    threads = companions()
    return f"threads that run after the imports, and that a child would not have: {threads}" if threads else ""


def target_of(handle: str) -> str:
    try:
        return os.readlink("/proc/self/fd/" + handle)
    except OSError:
        return ""


def companions() -> int:
    """How many threads there are besides this one.

    Counted after a fork, because libraries that mind forks (OpenBLAS) end their threads for it and start them again
    where they are needed. The fork is the C library's own: Python's would warn of threads.
    """
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return len(os.listdir("/proc/self/task")) - 1


def loaded() -> "tuple[list[bytes], list[bytes]]":
    """Top-level names that a fresh interpreter has not loaded, and the paths on which what is loaded depends."""
    names = {name.partition(".")[0] for name in sys.modules} - FRESH - set(sys.builtin_module_names)
    files = {getattr(module, "__file__", None) for module in sys.modules.values()}
    paths = [sys.executable, sys.prefix + "/pyvenv.cfg", *sys.path, *path_files(), *filter(None, files)]
    return [os.fsencode(name) for name in names], [os.fsencode(path) for path in paths]


def path_files() -> "list[str]":
    """The files by which packages put folders on the path; editing one does not change its folder."""
    folders = filter(os.path.isdir, sys.path)
    return [folder + "/" + name for folder in folders for name in os.listdir(folder) if name.endswith(".pth")]


def serve(control: _socket.socket) -> _socket.socket:
    """In a child: its socket. The parent stays in here until the trainer is gone or has no more use for it."""
    while True:
        handle = heard(control)[1][0]
        if spawn():
            control.close()
            return _socket.socket(fileno=handle)
        os.close(handle)


def spawn() -> bool:
    """True in a new child that belongs to whoever inherits our orphans."""
    try:
        between = os.fork()
    except OSError:
        return False  # the trainer sees the end of the child's socket
    if between:
        os.waitpid(between, 0)
        return False
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        os._exit(1)
    return True


# --- a child: whatever can go wrong goes wrong before it is set ---


def wait(sock: _socket.socket, shown: "list[tuple[int, int]]") -> "tuple[int, str]":
    """Moves, and becomes what the request says; only returns if that succeeded."""
    sock.sendall(pack([b"ready", b"%d" % os.getpid()]))
    try:
        move(sock, *heard(sock)[0])
        sock.sendall(pack([b"placed"]))
        groups, handles = heard(sock)
        script = become(groups, handles[0], shown)
    except BaseException as error:
        sock.sendall(pack([b"failed", f"{type(error).__name__}: {error}".encode("utf-8", "replace")]))
        os._exit(0)
    sock.sendall(pack([b"set"]))
    heard(sock)
    sock.close()
    return script


def heard(sock: _socket.socket) -> "tuple[list[list[bytes]], list[int]]":
    """What the trainer says next; where it says nothing any more, this process ends."""
    groups, handles = receive(sock)
    if not groups:
        os._exit(0)
    return groups, handles


def move(sock: _socket.socket, holder: "list[bytes]", files: "list[bytes]") -> None:
    """Into the control groups that have these files, and into the namespaces of `holder`, if there is one, for good."""
    for file in files:
        handle = os.open(file, os.O_WRONLY)
        os.write(handle, b"0")
        os.close(handle)
    for pid in map(int, holder):
        enter(sock, pid)
        renounce()


def become(groups: "list[list[bytes]]", output: int, shown: "list[tuple[int, int]]") -> "tuple[int, str]":
    """Makes up for all that differs from a fresh interpreter about to run the script; the script as it was opened."""
    argv, variables, (cwd, mark), affinity, limits = groups
    os.setsid()
    os.chdir(cwd)
    streams(output)
    allowances(affinity, limits)
    environment(variables)
    words = [os.fsdecode(word) for word in argv]
    restart()
    arguments(words)
    file = opened(words[1])
    label(shown[0], mark)
    label(shown[1], b"\0".join(argv))
    libc.prctl(PR_SET_DUMPABLE, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return file, absolute(words[1])


def enter(sock: _socket.socket, holder: int) -> None:
    """Moves into the namespaces of `holder`. A PID namespace is entered by a child, so there is one fork more."""
    flags = 0
    for name, bit in NAMESPACES:
        try:
            if os.readlink("/proc/self/ns/" + name) != os.readlink(f"/proc/{holder}/ns/{name}"):
                flags |= 1 << bit
        except FileNotFoundError:
            pass
    handle = checked(libc.syscall(SYS_PIDFD_OPEN, holder, 0))
    checked(libc.setns(handle, flags))
    os.close(handle)
    child = os.fork()
    if child:
        sock.sendall(pack([b"inside", b"%d" % child]))
        os._exit(0)
    heard(sock)  # the trainer has reaped the process between, so this one is the trainer's own now


def renounce() -> None:
    """Gives up every capability for good, as bubblewrap does for what it starts."""
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    checked(libc.capset(header, (ctypes.c_uint32 * 6)()))


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def streams(output: int) -> None:
    """Nothing is shared with other children: each opens its own stdin, and has its own pipe."""
    null = os.open(os.devnull, os.O_RDWR)
    for handle, number in ((null, 0), (output, 1), (output, 2)):
        os.dup2(handle, number)
    os.close(null)
    os.close(output)


def allowances(affinity: "list[bytes]", limits: "list[bytes]") -> None:
    """The processors and limits that the trainer's own process has by now."""
    if affinity:
        os.sched_setaffinity(0, [int(number) for number in affinity])
    for limit in limits:
        which, soft, hard = (int(number) for number in limit.split())
        checked(libc.prlimit(0, which, (ctypes.c_uint64 * 2)(soft, hard), None))


def environment(variables: "list[bytes]") -> None:
    """What the request says, and the locale that this interpreter put there itself at its start, as all do."""
    coerced = {name: value for name, value in os.environb.items() if name == b"LC_CTYPE"}
    told = {name: value for name, _, value in (variable.partition(b"=") for variable in variables)}
    os.environb.clear()
    os.environb.update({**told, **coerced, **told})  # what was told counts, and its order


def restart() -> None:
    """Draws anew what modules drew from chance, the clock or the current folder when they were imported.

    `random` does so itself at a fork. torch's generators for GPUs are made when they are first used.
    """
    loaded = sys.modules.get
    random, torch, process = loaded("numpy.random"), loaded("torch"), loaded("multiprocessing.process")
    tempfile, logging, threading = loaded("tempfile"), loaded("logging"), loaded("threading")
    if random:
        random.seed()
    if torch:
        torch.default_generator.seed()
    if process:
        process.current_process().authkey = os.urandom(32)
        vars(process)["ORIGINAL_DIR"] = os.getcwd()
    if tempfile:
        vars(tempfile)["tempdir"] = None
    if logging:
        clock = time.time_ns if isinstance(vars(logging)["_startTime"], int) else time.time
        vars(logging)["_startTime"] = clock()
    if threading:
        threading.main_thread()._set_native_id()


def arguments(words: "list[str]") -> None:
    """`sys.argv`, `sys.path` and `__main__` as they are for a script."""
    sys.argv[:] = words[1:]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = words
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.path.dirname(os.path.realpath(words[1])))
    main = type(sys)("__main__")
    main.__dict__.clear()
    main.__dict__.update(BARE, **({"__annotations__": {}} if "__annotations__" in BARE else {}))
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:
        sys.modules["__mp_main__"] = main


def absolute(path: str) -> str:
    """The script as tracebacks name it: since Python 3.9 with the current folder."""
    return path if path.startswith("/") or sys.version_info < (3, 9) else os.getcwd() + "/" + path


def opened(path: str) -> int:
    libc.fopen.restype = ctypes.c_void_p
    file: int | None = libc.fopen(os.fsencode(path), b"rb")
    return file or checked(-1)


def places() -> "list[tuple[int, int]]":
    """Where the kernel shows this process's mark and its arguments to others: addresses and sizes."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    first, last, variables = (int(field) for field in fields[45:48])
    with open("/proc/self/environ", "rb") as file:
        text = file.read()
    at = (b"\0" + text).index(b"\0" + MARK) + len(MARK)
    return [(variables + at, text.index(b"\0", at) - at), (first, last - first)]


def label(place: "tuple[int, int]", text: bytes) -> None:
    """Whoever looks for an experiment's processes finds this one: it has not got what it shows by `exec`."""
    start, size = place
    ctypes.memmove(start, text[: size - 1].ljust(size, b"\0"), size)


# --- running the script ---


def hook(file: int, path: str) -> object:
    """An exception hook that runs the script below no Python frame: C calls C until the script's first line.

    The interpreter calls the hook for `Begin`, when this program's own code is over and no frame is left. It looks up
    `__call__`, whose getter puts `sys` in order and gives the C function; the three arguments of a hook
    come behind those of the C function, which does not look at them. If the script ended well, `left` is asked for what
    it does not hold, and so calls `Py_Exit`, which finalises as usual. After any other the interpreter goes on as after
    a script that failed: exit code 1, or death by SIGINT after an interrupt. `SystemExit` never comes back here.
    """
    api = ctypes.pythonapi
    api.Py_Exit.argtypes, api.Py_Exit.restype = (ctypes.c_int,), None
    left = type("Left", (dict,), {"__missing__": api.Py_Exit})({-1: None})
    run = api.PyRun_AnyFileExFlags
    run.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, *[ctypes.py_object] * 3)
    run.restype = left.__getitem__
    made = type("Hook", (), {"__call__": property(_operator.methodcaller("next"))})()
    vars(made)["next"] = tidied(partial(run, file, os.fsencode(path), 1, None))
    return made


def tidied(script: object) -> object:
    """A callable that puts `sys` in order and gives `script`; no Python frame either."""
    call = _operator.methodcaller("__call__")
    forget = [partial(vars(sys).pop, name, None) for name in ("last_exc", "last_type", "last_value", "last_traceback")]
    tidy = partial(list, map(call, [partial(setattr, sys, "excepthook", sys.excepthook), *forget]))
    return partial(next, filter(callable, map(call, [tidy, partial([script].__getitem__, 0)])))


def descend() -> None:
    """Takes the levels of recursion that the hook needs off the count; from Python 3.12 on C calls have their own."""
    if (3, 9) <= sys.version_info < (3, 12):
        for _ in range(3):
            ctypes.pythonapi.Py_LeaveRecursiveCall()


def main() -> None:
    """Returns in a child that is to begin, as `sys.excepthook` says."""
    trainer, control, names = int(sys.argv[1]), _socket.socket(fileno=int(sys.argv[2])), sys.argv[3:]
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != trainer:
        os._exit(0)
    shown = places()
    sys.argv[:] = ["-c"]
    reason = load(names)
    if reason:
        control.sendall(pack([b"failed", reason.encode("utf-8", "replace")]))
        os._exit(0)
    control.sendall(pack([b"loaded"], *loaded()))
    collecting = gc.isenabled()
    gc.disable()  # it would touch pages that are shared with children
    libc.prctl(PR_SET_DUMPABLE, 0)
    sys.excepthook = hook(*wait(serve(control), shown))  # type: ignore[assignment]
    descend()
    if collecting:
        gc.enable()


main()
raise Begin
