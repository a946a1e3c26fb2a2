# ruff: noqa: E501 -- programs of attackers are wide
"""Attacks on a sandbox as data: what each tries, how it may end, and on which tier it is known to see something.

A program prints BREACH where it got what it must not have and TRIED where it came to its end, so that one which fails
for a reason of its own does not count as contained. `@name@` is filled in from the host (see `test_attacks.py`).
"""

from dataclasses import dataclass, field

from evolvent.envs.sandbox import Ended, Limits

MARK = "evoattack"
PRELUDE = f"""
import ctypes, os, sys, time, signal, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(15, b"{MARK}", 0, 0, 0)
def breach(*what): print("BREACH", *what, flush=True)
def attempt(what, do, *args):
    try:
        do(*args)
    except BaseException as error:
        return error
    breach(what)
def call(what, number, *args):
    if libc.syscall(number, *args) >= 0: breach(what)
def tried(): print("TRIED", flush=True)
"""
SMALL = Limits(
    wall_s=6.0, cpu_s=4.0, memory_bytes=256 << 20, num_processes=16, disk_bytes=16 << 20, file_bytes=8 << 20,
    num_files=300, num_open_files=64,
)  # fmt: skip
SHORT = Limits(wall_s=0.5, cpu_s=5.0, num_processes=16)
ANY_END = frozenset(Ended)
BY_LIMIT = frozenset({Ended.TIMED_OUT, Ended.OUT_OF_MEMORY, Ended.TOO_MUCH_OUTPUT, Ended.KILLED})


@dataclass(frozen=True)
class Attack:
    """`needs` is what monty's part of Python does not have; `seen` says by tier why the breach is a known one."""

    name: str
    code: str
    needs: str = "ctypes"
    limits: Limits = SMALL
    ends: frozenset[Ended] = frozenset({Ended.OK, Ended.FAILED})
    seen: dict[str, str] = field(default_factory=dict)
    works_bare: bool = False  # a plain interpreter on Linux does breach: the program is a real attack
    stdin: str = ""


METADATA = (
    "Landlock guards opening, not the metadata of a path: names, sizes and times that are guessed can be asked for"
)
PIDS = "without a namespace of processes the kernel says whether a number is taken"
NO_INODES = "podman 4 has no word for the number of files of a tmpfs; they count as memory of the container"

ATTACKS = [
    # ------------------------------------------------------------ too many processes
    Attack("fork bomb", """
n = 0
try:
    while n < 400:
        if os.fork() == 0:
            time.sleep(60); os._exit(0)
        n += 1
except OSError: pass
if n > 40: breach(n, "processes")
tried()
""", ends=ANY_END, works_bare=True),
    Attack("fork bomb that doubles", "\nwhile True:\n    try: os.fork()\n    except OSError: pass\n",
           limits=SHORT, ends=BY_LIMIT),
    Attack("threads without end", """
import threading
n = 0
threading.stack_size(65536)
try:
    while n < 400:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        n += 1
except RuntimeError: pass
if n > 40: breach(n, "threads")
tried()
os._exit(0)
""", ends=ANY_END, works_bare=True),
    # ------------------------------------------------------------ too much memory
    Attack("memory bomb", """
held = []
try:
    while len(held) < 60: held.append(bytearray(b"x" * (10 << 20)))
    breach(len(held) * 10, "MB")
except MemoryError:
    held = None
tried()
""", ends=ANY_END, works_bare=True),
    Attack("memory bomb by children", """
ready = os.pipe()
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(b"x" * (120 << 20)); os.write(ready[1], b"."); time.sleep(1.5); os.write(ready[1], b"!")
        time.sleep(30); os._exit(0)
time.sleep(3)
os.write(ready[1], b".")
if os.read(ready[0], 99).count(b"!") == 6: breach("720 MB held")
tried()
""", ends=ANY_END, works_bare=True),
    Attack("memory bomb by shared pages of children", """
import mmap
ready = os.pipe()
for number in range(6):
    area = mmap.mmap(-1, 100 << 20)
    if os.fork() == 0:
        for at in range(0, 100 << 20, 4096): area[at] = 1
        time.sleep(1.5); os.write(ready[1], b"!"); time.sleep(30); os._exit(0)
    area.close()
os.write(ready[1], b".")
time.sleep(3.5)
if os.read(ready[0], 99).count(b"!") == 6: breach("600 MB held")
tried()
""", ends=ANY_END, works_bare=True),
    Attack("memory that no process has", """
held = []
for _ in range(40):
    try:
        file = os.memfd_create("x")
        for _ in range(8): os.write(file, b"x" * (1 << 20))
        held.append(file)
    except OSError: pass
time.sleep(0.5)
if len(held) > 35: breach(len(held) * 8, "MB")
tried()
""", ends=ANY_END, works_bare=True),
    # ------------------------------------------------------------ too much disk
    Attack("disk fill", """
written = 0
for number in range(40):
    try:
        with open(f"f{number}", "wb") as file:
            for _ in range(7): written += file.write(b"x" * (1 << 20))
    except OSError: pass
time.sleep(1)
if written > 48 << 20: breach(written >> 20, "MB")
tried()
""", ends=ANY_END, works_bare=True),
    Attack("disk fill by files without a name", """
held = []
for number in range(30):
    try:
        held.append(open(f"f{number}", "wb")); os.unlink(f"f{number}")
        for _ in range(7): held[-1].write(b"x" * (1 << 20))
        held[-1].flush()
    except OSError: pass
time.sleep(1)
if sum(os.fstat(file.fileno()).st_size for file in held) > 48 << 20: breach("MB")
tried()
""", ends=ANY_END, works_bare=True),
    Attack("disk fill of /tmp", """
import tempfile
written = 0
for number in range(40):
    try:
        with open(f"{tempfile.gettempdir()}/f{number}", "wb") as file:
            for _ in range(7): written += file.write(b"x" * (1 << 20))
    except OSError: pass
time.sleep(1)
if written > 80 << 20: breach(written >> 20, "MB")
tried()
""", ends=ANY_END),
    Attack("one file too large", """
try:
    with open("large", "wb", 0) as file:
        while file.tell() < 30 << 20: file.write(b"x" * (1 << 20))
    breach("30 MB")
except OSError: pass
tried()
""", ends=ANY_END, works_bare=True),
    Attack("/dev/shm fill", """
written = 0
try:
    with open("/dev/shm/evoattack", "wb", 0) as file:
        while written < 100 << 20: written += file.write(b"x" * (1 << 20))
except OSError: pass
for number in range(30):
    try:
        with open(f"/dev/shm/evoattack{number}", "wb", 0) as file:
            for _ in range(7): written += file.write(b"x" * (1 << 20))
    except OSError: pass
time.sleep(0.5)
if written > 64 << 20: breach(written >> 20, "MB")
tried()
""", ends=ANY_END),
    Attack("files without end", """
made = 0
for number in range(3000):
    try:
        os.mkdir(f"d{number}") if number % 2 else open(f"f{number}", "x").close()
        made += 1
    except OSError: pass
time.sleep(1)
if made > 2000: breach(made, "files")
tried()
""", ends=ANY_END, works_bare=True, seen={"container": NO_INODES}),
    Attack("folders without a bottom", """
depth = 0
try:
    while depth < 3000: os.mkdir("d" * 200); os.chdir("d" * 200); depth += 1
except OSError: pass
time.sleep(0.5)
tried()
""", ends=ANY_END),
    Attack("folders that nobody may look into", """
for number in range(20):
    try:
        os.mkdir(f"closed{number}"); open(f"closed{number}/f", "w").close(); os.mkdir(f"none{number}", 0)
        libc.chmod(f"closed{number}".encode(), 0)
    except OSError: pass
time.sleep(0.3)
tried()
""", ends=ANY_END),
    Attack("open files without end", """
held = []
try:
    while len(held) < 500: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError: pass
if len(held) > 100: breach(len(held))
tried()
""", works_bare=True),
    # ------------------------------------------------------------ the kernel's own files
    Attack("writes below /proc and /sys", """
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches", "/proc/1/oom_score_adj",
             "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent",
             "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/1/mem"):
    attempt(path, os.open, path, os.O_WRONLY)
tried()
"""),
    Attack("/proc/1/root", """
for number in (1, os.getppid(), @victim@):
    for path in (f"/proc/{number}/root@secret_file@", f"/proc/{number}/cwd/../../../../../..@secret_file@"):
        attempt(path, open, path)
    attempt(number, open, f"/proc/{number}/mem", "rb")
    attempt(number, os.readlink, f"/proc/{number}/exe") if number != 1 and number != os.getppid() else None
tried()
""", works_bare=True),
    Attack("secrets of environments", """
import glob
texts = [repr(dict(os.environ))]
for path in glob.glob("/proc/*/environ") + [f"/proc/{n}/environ" for n in ("self", 1, os.getppid(), @victim@)]:
    try: texts.append(open(path, errors="replace").read())
    except OSError: pass
if any("@secret@" in text for text in texts): breach("environment")
tried()
""", works_bare=True),
    Attack("secrets of command lines", """
import glob
texts = []
for path in glob.glob("/proc/*/cmdline") + [f"/proc/{n}/cmdline" for n in ("self", 1, os.getppid(), @victim@)]:
    try: texts.append(open(path, errors="replace").read())
    except OSError: pass
if any("@secret@" in text for text in texts): breach("command line")
tried()
""", works_bare=True),
    Attack("is a process of the host there", """
if os.path.exists("/proc/@victim@"): breach("seen below /proc")
try: os.kill(@victim@, 0)
except PermissionError: breach("seen by kill")
except ProcessLookupError: pass
tried()
""", seen={"landlock": PIDS}, works_bare=True),
    Attack("list of the host's processes", """
try:
    if len([n for n in os.listdir("/proc") if n.isdigit()]) > 12: breach("listed")
except OSError: pass
tried()
""", works_bare=True),
    Attack("signals to the host", """
for number in (signal.SIGKILL, signal.SIGSTOP):
    attempt("kill", os.kill, @victim@, number)
    call("pidfd", 424, libc.syscall(434, @victim@, 0), number, None, 0)
    call("tgkill", 234, @victim@, @victim@, number)
    call("sigqueue", 129, @victim@, number, bytes(128))
tried()
"""),
    Attack("a signal to everybody", "\ntried()\nos.kill(-1, signal.SIGKILL)\ntime.sleep(0.1)\n", ends=ANY_END),
    Attack("limits and priorities of the host", """
call("prlimit", 302, @victim@, 0, struct.pack("QQ", 1, 1), None)
call("setpriority", 141, 0, @victim@, 19)
call("affinity", 203, @victim@, 8, struct.pack("Q", 1))
call("ioprio", 251, 1, @victim@, 0x6007)
call("scheduler", 144, @victim@, 3, struct.pack("i", 0))
tried()
""", works_bare=True),
    # ------------------------------------------------------------ networks and sockets
    Attack("loopback", """
attempt("tcp", socket.create_connection, ("127.0.0.1", @port@), 1)
attempt("tcp6", socket.create_connection, ("::1", @port@), 1)
tried()
""", works_bare=True),
    Attack("names and datagrams", """
def ask(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", @port@))
attempt("udp", ask)
attempt("dns", socket.getaddrinfo, "example.org", 80)
attempt("raw", socket.socket, socket.AF_PACKET, socket.SOCK_RAW)
attempt("netlink", lambda: socket.socket(16, socket.SOCK_RAW, 0).bind((0, 0)))
tried()
"""),
    Attack("abstract sockets and sockets of the system", """
for where in ("\\0@abstract@", "@socket_file@", "/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket"):
    def connect():
        link = socket.socket(socket.AF_UNIX); link.settimeout(1); link.connect(where)
    attempt(where, connect)
tried()
""", works_bare=True),
    # ------------------------------------------------------------ calls of the kernel
    Attack("keyring", """
call("keyctl", 250, 0, -3, 1)
call("add_key", 248, b"user", b"evoattack", b"x", 1, -3)
call("request_key", 249, b"user", b"evoattack", None, -3)
tried()
"""),
    Attack("io_uring", "\ncall('setup', 425, 8, bytes(120))\ntried()\n"),
    Attack("ptrace", """
call("attach", 101, 16, @victim@, 0, 0)
call("seize", 101, 0x4206, @victim@, 0, 0)
call("read memory", 310, @victim@, bytes(16), 1, bytes(16), 1, 0)
call("copy a file", 438, libc.syscall(434, @victim@, 0), 0, 0)
call("compare", 312, @victim@, os.getpid(), 0, 0, 0)
tried()
"""),
    Attack("bpf, userfaultfd, perf", """
call("bpf", 321, 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(104), 120)
call("userfaultfd", 323, 1)
call("perf", 298, struct.pack("IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0)
call("modules", 175, bytes(8), 8, b"")
call("syslog", 103, 3, bytes(99), 99)
tried()
"""),
    Attack("mounts", """
call("mount", 165, b"none", b".", b"tmpfs", 0, None)
call("fsopen", 430, b"tmpfs", 0)
call("open_tree", 428, -100, b"/", 1)
call("umount", 166, b"/proc", 2)
call("pivot_root", 155, b".", b".")
call("chroot", 161, b".")
tried()
"""),
    Attack("namespaces in namespaces", """
for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x04000000, 0x08000000, 0x02000000):
    call(hex(flag), 272, flag)
pid = libc.syscall(56, 0x10000000 | 17, None, None, None, None)
if pid == 0: os._exit(0)
if pid > 0: breach("clone")
pid = libc.syscall(435, struct.pack("11Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)
if pid == 0: os._exit(0)
if pid > 0: breach("clone3")
tried()
"""),
    Attack("files by handle", """
for path in (b"/", b".", b"/proc"):
    call("name_to_handle", 303, -100, path, struct.pack("Ii", 120, 0) + bytes(120), bytes(4), 0)
handle = struct.pack("IiII", 8, 1, 2, 0) + bytes(8)
file = libc.syscall(304, os.open(".", os.O_RDONLY), handle, os.O_RDONLY)
if file >= 0: breach("root of the disk")
tried()
"""),
    Attack("the kernel's other doors", """
for number in (165, 321, 425):  # of the ABI with 32-bit pointers
    if os.fork() == 0:
        os._exit(1 if libc.syscall(0x40000000 | number, 0, 0, 0, 0, 0) >= 0 else 0)
    if os.waitstatus_to_exitcode(os.wait()[1]) == 1: breach("x32", number)
for number in range(463, 500): call(number, number, 0, 0, 0, 0, 0, 0)
tried()
"""),
    Attack("segments that outlive their makers", """
libc.syscall(29, 0x65766F61, 4096, 0o1666); libc.syscall(64, 0x65766F61, 1, 0o1666); libc.syscall(68, 0x65766F61, 0o1666)
libc.syscall(240, b"evoattack", 0o102, 0o600, None)
tried()
"""),
    Attack("input pushed into a terminal", """
import fcntl
for number in (0, 1, 2):
    attempt("TIOCSTI", fcntl.ioctl, number, 0x5412, b"x")
def open_terminal(): fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), 0x5412, b"x")
attempt("tty", open_terminal)
attempt("64 bits", lambda: [][libc.syscall(16, 0, ctypes.c_ulong(0x100005412), b"x") >= 0 or 9])
tried()
"""),
    # ------------------------------------------------------------ files that are not its own
    Attack("links out of the folder", """
os.symlink("@secret_file@", "link"); os.symlink("/", "root")
attempt("link", open, "link")
attempt("folder", open, "root@secret_file@")
attempt("dots", open, "../" * 30 + "@secret_file@"[1:])
attempt("hard link", os.link, "@secret_file@", "hard")
tried()
""", works_bare=True),
    Attack("secrets on the disk", """
for path in ("/etc/shadow", "/etc/gshadow", "@secret_file@", "@repository@/pyproject.toml", "@repository@/.git/config"):
    attempt(path, open, path)
for path in ("/root", "@home@", "@repository@"):
    try:
        if [name for name in os.listdir(path) if name in (".ssh", ".bashrc", ".profile", "pyproject.toml")]: breach(path)
    except OSError: pass
tried()
""", works_bare=True),
    Attack("size of a file outside", """
attempt("stat", os.stat, "@secret_file@")
tried()
""", seen={"landlock": METADATA}, works_bare=True),
    Attack("writes outside", """
for folder in ("/usr", "/usr/bin", "/etc", "/lib", sys.prefix, sys.base_prefix, "@repository@", "@secret_folder@", "/var/tmp", "/root"):
    def write(): open(folder + "/evoattack", "w").close()
    attempt(folder, write)
for path in ("@secret_file@", "/etc/passwd", sys.executable, os.__file__):
    attempt(path, os.truncate, path, 0)
    attempt(path, os.unlink, path)
    attempt(path, os.rename, path, "mine")
tried()
"""),
    Attack("rights of a file outside", """
for do in (lambda: os.chmod("@secret_file@", 0o777), lambda: os.utime("@secret_file@", (1, 1)),
           lambda: os.setxattr("@secret_file@", "user.evoattack", b"x"), lambda: os.chown("@secret_file@", 1, 1)):
    try: do()
    except OSError: pass
libc.syscall(452, -100, b"@secret_file@", 0o777, 0)
tried()
"""),
    Attack("devices", """
for path in ("/dev/kvm", "/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/fuse", "/dev/net/tun", "/dev/loop-control", "/dev/port"):
    attempt(path, os.open, path, os.O_RDWR)
attempt("mknod", os.mknod, "kvm", 0o20666, os.makedev(10, 232))
attempt("mknod", os.mknod, "disk", 0o60666, os.makedev(254, 0))
tried()
"""),
    Attack("another user", """
if libc.prctl(39, 0, 0, 0, 0) != 1: breach("may gain rights")
attempt("setuid", lambda: os.setuid(0) if os.getuid() else [][0])
attempt("setgroups", os.setgroups, [0, 6])
try: open("/etc/shadow"); breach("shadow")
except OSError: pass
try: status = open("/proc/self/status").read()
except OSError: status = ""
for line in status.splitlines():
    if line.startswith("CapEff") and int(line.split()[1], 16) & ~(1 << 2): breach(line)
tried()
"""),
    Attack("programs that are another user's", """
import subprocess
for words in (["su", "-c", "id -u"], ["sudo", "-n", "id", "-u"], ["mount", "-t", "tmpfs", "none", "."], ["passwd", "-d", "root"]):
    try:
        if subprocess.run(words, capture_output=True, timeout=3, stdin=subprocess.DEVNULL).returncode == 0: breach(words)
    except (OSError, subprocess.TimeoutExpired): pass
tried()
"""),
    Attack("core dumps", """
import resource
if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0: breach("limit")
tried()
os.abort()
""", ends=frozenset({Ended.KILLED, Ended.FAILED})),
    Attack("limits taken back", """
import resource
for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
    soft, hard = resource.getrlimit(kind)
    attempt(kind, resource.setrlimit, kind, (hard, hard + 1))
tried()
"""),
    Attack("import of the project", """
sys.path[:0] = ["@repository@/src", "@repository@", "@site_packages@"]
attempt("evolvent", __import__, "evolvent.records")
attempt("pytest", __import__, "pytest")
if any(name.partition(".")[0] == "evolvent" for name in sys.modules): breach("modules")
tried()
"""),
    # ------------------------------------------------------------ output, input, time
    Attack("output without end", "\nwhile True: print('x' * 1000)\n", needs="", ends=BY_LIMIT,
           limits=Limits(wall_s=5.0, output_bytes=10_000)),
    Attack("errors without end", "\nwhile True: os.write(2, b'x' * 100000)\n", ends=BY_LIMIT,
           limits=Limits(wall_s=5.0, output_bytes=10_000)),
    Attack("output by children without end", """
for _ in range(3):
    if os.fork() == 0:
        while True: os.write(1, b"x" * 5000)
time.sleep(30)
""", ends=BY_LIMIT, limits=Limits(wall_s=5.0, output_bytes=10_000)),
    Attack("input that nobody reads", "\ntried()\n", stdin="x" * (4 << 20)),
    Attack("reading where there is nothing", "\nif sys.stdin.read(): breach()\ntried()\n", limits=SHORT),
    Attack("sleep past the limit", "\ntime.sleep(600)\n", ends=frozenset({Ended.TIMED_OUT}), limits=SHORT),
    Attack("a loop past the limit", "\nwhile True: pass\n", needs="", ends=frozenset({Ended.TIMED_OUT}), limits=SHORT),
    Attack("signals ignored", """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: pass
""", ends=frozenset({Ended.TIMED_OUT, Ended.KILLED}), limits=Limits(wall_s=1.0, cpu_s=1.0)),
    Attack("a process that stops itself and its parent", """
try: os.kill(os.getppid(), signal.SIGSTOP)
except OSError: pass
try: os.kill(0, signal.SIGSTOP)
except OSError: pass
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(60)
""", ends=BY_LIMIT, limits=SHORT),
    Attack("a daemon that left its parents", """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3): os.close(number)
        while True: time.sleep(0.01)
    os._exit(0)
os.wait()
tried()
"""),
    Attack("a daemon that holds the streams", """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        time.sleep(600)
    os._exit(0)
os.wait()
tried()
"""),
    # ------------------------------------------------------------ the way of the result
    Attack("fake results on every descriptor", """
fakes = [b'{"exit": 0, "outcome": "ok", "sizes": [0, 0]}\\n', struct.pack(">I", 40) + b"x" * 40, b"." * 100, b"\\0" * 64]
for number in range(3, 256):
    for fake in fakes:
        try: os.write(number, fake); breach("descriptor", number)
        except OSError: pass
tried()
os._exit(7)
"""),
    Attack("the parent killed", """
tried()
for number in (os.getppid(), os.getpgid(0), 1, 2):
    try: os.kill(number, signal.SIGKILL)
    except OSError: pass
""", ends=ANY_END),
    Attack("streams in the way", """
class Odd:
    def __getattr__(self, name): raise SystemExit(0)
tried()
sys.stdout = sys.stderr = sys.__stdout__ = sys.excepthook = Odd()
import builtins
builtins.print = builtins.open = builtins.exec = builtins.isinstance = None
sys.modules.clear()
raise ValueError
""", ends=ANY_END),
    Attack("every descriptor closed", "\ntried()\nos.closerange(0, 1024)\nraise ValueError\n", ends=ANY_END),
    Attack("a descriptor of the host left open", """
for number in range(3, 200):
    try: breach(number, oct(os.fstat(number).st_mode))
    except OSError: pass
tried()
"""),
    # ------------------------------------------------------------ odd text
    Attack("odd names", """
for name in (b"\\xff\\xfe", "\\u202egnp.exe".encode(), b"a\\nb", b"-rf", b"x" * 255, b" ", b"~", b"*"):
    open(name, "w").close()
attempt("NUL", open, "a\\0b", "w")
tried()
"""),
    Attack("parser bomb", "\nfor bomb in ('(' * 100000, '-' * 200000 + '1', '[' * 5000 + ']' * 5000):\n    try: eval(bomb)\n    except BaseException as error: print(type(error))\nprint('TRIED')\n", needs="",
           ends=ANY_END),
    Attack("stack bomb", "\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()\n", ends=ANY_END, limits=SHORT),
]  # fmt: skip
