"""Who has a store open and whether its index can be trusted: real processes that come, go, are killed and refused."""

import fcntl
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dagstore import presence
from dagstore.errors import DagError, Refused, Unavailable
from dagstore.presence import Presence, boot_id

PATIENCE = 60
OTHER_BOOT = "00000000-1111-2222-3333-444444444444"
OTHER_NAMESPACE = "12345"
needs_boot_id = pytest.mark.skipif(not boot_id(), reason="this system has no boot id, so nothing dirty is trusted")
needs_proc = pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="pid namespaces are Linux' own")

ACTOR = """
import os, sys
from pathlib import Path
from dagstore.errors import DagError
from dagstore.presence import Presence

folder, index = map(Path, sys.argv[1:])

def enter(readonly=False):
    global here
    here = Presence.enter(folder, index, readonly=readonly)
    return "trusted" if here.trusted else "untrusted"

def leave():
    synced = []
    here.leave(lambda: synced.append(True))
    return "synced" if synced else "left"

def lose_rights():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

def leave_in_a_child():
    child = os.fork()
    if child == 0:
        leave()
        os._exit(0)
    os.waitpid(child, 0)

def leave_a_child_behind():
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.close(writable)
        os.read(readable, 1)  # until this process ends
        os._exit(0)
    os.close(readable)

def rounds():
    for _ in range(40):
        assert enter() == "trusted"
        here.mark_dirty()
        leave()

verbs = {
    "enter": enter,
    "look": lambda: enter(readonly=True),
    "mark": lambda: here.mark_dirty(),
    "settle": lambda: here.settle(),
    "leave": leave,
    "build": lambda: index.write_bytes(b"built"),
    "lose rights": lose_rights,
    "leave in a child": leave_in_a_child,
    "leave a child behind": leave_a_child_behind,
    "rounds": rounds,
}
for line in sys.stdin:
    try:
        answer = verbs[line.strip()]()
    except DagError as error:
        answer = f"{type(error).__name__} {error.code} {bool(error.hint)}"
    print(answer, flush=True)
"""


class Actor:
    """A process that enters and leaves as it is told to."""

    def __init__(self, folder, *, before=()):
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", ACTOR, str(folder), str(folder / "data.mdb")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, verb):
        self.process.stdin.write(f"{verb}\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, *verbs):
        """The answer to the last of them."""
        for verb in verbs:
            self.tell(verb)
            answer = self.answer()
        return answer

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()

    def end(self):
        if self.process.returncode is None:
            self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def start():
    """Start actors; at the end they are told that nothing more comes."""
    actors = []

    def start(*arguments, **options):
        actors.append(Actor(*arguments, **options))
        return actors[-1]

    yield start
    for actor in actors:
        actor.end()


@pytest.fixture
def folder(tmp_path):
    """A store whose index is clean."""
    return make_folder(tmp_path / ".dag")


def make_folder(folder):
    folder.mkdir()
    here = enter(folder)
    (folder / "data.mdb").write_bytes(b"index")
    here.mark_dirty()
    here.leave(lambda: None)
    assert state(folder) == "clean"
    return folder


def enter(folder, *, readonly=False):
    return Presence.enter(folder, folder / "data.mdb", readonly=readonly)


def trusted(folder, *, readonly=False):
    """Whether somebody who is alone can trust the index; the file may change by the question."""
    here = enter(folder, readonly=readonly)
    here.leave(lambda: None)
    return here.trusted


def words(folder):
    return (folder / "presence").read_text("ascii").split()


def state(folder):
    return words(folder)[2]


def forge(folder, **changes):
    """Replace fields of the line, which keeps its width."""
    line = (folder / "presence").read_text("ascii")
    match = re.fullmatch(
        r"dagstore-presence (?P<version>\S+) (?P<state>.{5}) (?P<file>.{52}) (?P<boot>.{36}) (?P<machine>.{36})"
        r" (?P<namespace>.{20})\n",
        line,
    )
    for name, value in changes.items():
        low, high = match.span(name)
        line = line[:low] + value.ljust(high - low) + line[high:]
    (folder / "presence").write_text(line, "ascii")
    return line


def somebody_is_in(folder, how):
    """Whether a lock of that kind is refused just now."""
    with open(folder / "presence", "rb+") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def others_are_kept_out(folder):
    return somebody_is_in(folder, fcntl.LOCK_SH)


def anybody_is_in(folder):
    return somebody_is_in(folder, fcntl.LOCK_EX)


def test_a_new_store_is_trusted_and_its_line_has_a_fixed_width(tmp_path):
    here = enter(tmp_path)
    assert here.trusted
    first = (tmp_path / "presence").read_bytes()
    (tmp_path / "data.mdb").write_bytes(b"index")
    here.mark_dirty()
    second = (tmp_path / "presence").read_bytes()
    here.leave(lambda: None)
    third = (tmp_path / "presence").read_bytes()
    assert [line.split()[2] for line in (first, second, third)] == [b"clean", b"dirty", b"clean"]
    assert {len(line) for line in (first, second, third)} == {174}
    assert all(line.startswith(b"dagstore-presence 1 ") and line.endswith(b"\n") for line in (first, second, third))


def test_an_index_without_the_file_is_untrusted(folder):
    (folder / "presence").unlink()
    assert not trusted(folder, readonly=True)
    assert not (folder / "presence").exists()
    (folder / "presence").touch()
    assert not trusted(folder)


@pytest.mark.parametrize(
    "content", [b"\n", b"clean", b"dagstore-presence 1 clean\n", b"\xff" * 174, b" " * 174, b"x" * 999]
)
def test_what_cannot_be_understood_is_untrusted_and_mended(folder, content):
    good = len((folder / "presence").read_bytes())
    (folder / "presence").write_bytes(content)
    here = enter(folder)
    assert not here.trusted
    here.settle()
    here.leave(lambda: None)
    assert (state(folder), len((folder / "presence").read_bytes())) == ("clean", good)


def test_the_line_of_another_version_is_untrusted(folder):
    forge(folder, version="2")
    assert not trusted(folder)


def test_clean_is_of_no_use_without_the_index_that_it_was_said_of(folder):
    (folder / "data.mdb").unlink()
    assert not trusted(folder)


def test_an_index_that_was_begun_by_nobody_who_said_so_is_untrusted(tmp_path):
    enter(tmp_path).leave(lambda: None)
    assert trusted(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"half an ind")
    assert not trusted(tmp_path)


def test_the_last_one_out_cleans(folder, start):
    one, two = start(folder), start(folder)
    assert one.ask("enter") == two.ask("enter") == "trusted"
    one.ask("mark")
    two.ask("mark", "mark")
    assert state(folder) == "dirty"
    assert one.ask("leave") == "left"
    assert state(folder) == "dirty"
    assert two.ask("leave") == "synced"
    assert state(folder) == "clean"
    assert two.ask("leave") == "left"
    assert not anybody_is_in(folder)


def test_who_changed_nothing_has_nothing_to_make_whole(folder, start):
    one, two = start(folder), start(folder)
    one.ask("enter")
    two.ask("look")
    assert one.ask("leave") == "left"
    assert two.ask("leave") == "left"
    assert state(folder) == "clean"


def test_coming_and_going_in_one_place_writes_nothing(folder):
    before = (folder / "presence").stat().st_mtime_ns
    for readonly in (False, True):
        assert trusted(folder, readonly=readonly)
    assert (folder / "presence").stat().st_mtime_ns == before


@needs_boot_id
def test_a_killed_writer_leaves_an_index_that_this_boot_trusts(folder, start):
    writer = start(folder)
    writer.ask("enter", "mark")
    writer.kill()
    assert state(folder) == "dirty"
    assert trusted(folder)
    assert trusted(folder, readonly=True)
    next_one = start(folder)
    assert next_one.ask("enter") == "trusted"
    next_one.ask("mark")
    assert next_one.ask("leave") == "synced"
    assert state(folder) == "clean"


def test_a_writer_that_was_killed_before_it_marked_leaves_a_clean_index(folder, start):
    writer = start(folder)
    writer.ask("enter")
    writer.kill()
    forge(folder, machine=OTHER_BOOT)  # and then the power went
    assert state(folder) == "clean"
    assert trusted(folder)


def leave_dirty_of_another_boot(folder, start):
    writer = start(folder)
    writer.ask("enter", "mark")
    writer.kill()
    return forge(folder, boot=OTHER_BOOT, machine=OTHER_BOOT)


def test_another_boot_does_not_trust_what_was_dirty_and_lets_nobody_in_until_it_is_settled(folder, start):
    leave_dirty_of_another_boot(folder, start)
    builder, waiting = start(folder), start(folder)
    assert builder.ask("enter") == "untrusted"
    assert others_are_kept_out(folder)
    waiting.tell("enter")
    assert builder.ask("mark") == "None"
    assert state(folder) == "stale"
    assert others_are_kept_out(folder)
    builder.ask("build", "settle")
    assert waiting.answer() == "trusted"
    assert not others_are_kept_out(folder)
    assert state(folder) == "dirty"
    waiting.ask("mark")
    assert builder.ask("leave") == "left"
    assert waiting.ask("leave") == "synced"
    assert state(folder) == "clean"


def test_who_waited_for_a_builder_that_was_killed_builds_itself(folder, start):
    leave_dirty_of_another_boot(folder, start)
    builder, *waiting = [start(folder) for _ in range(4)]
    assert builder.ask("enter") == "untrusted"
    for one in waiting:
        one.tell("enter")
    builder.ask("build")
    builder.kill()
    answers = []
    while waiting:
        one = first_to_answer(waiting)
        waiting.remove(one)
        answers.append(one.answer())
        if answers[-1] == "untrusted":  # the others answer when it has settled
            one.ask("settle")
    assert answers == ["untrusted", "trusted", "trusted"]


def first_to_answer(actors):
    ready, _, _ = select.select([actor.process.stdout for actor in actors], [], [], PATIENCE)
    return next(actor for actor in actors if actor.process.stdout in ready)


def test_a_builder_that_gives_up_leaves_the_index_untrusted(folder, start):
    leave_dirty_of_another_boot(folder, start)
    here = enter(folder)
    here.leave(lambda: pytest.fail("there is nothing to make whole"))
    assert state(folder) == "stale"
    assert not trusted(folder)


def test_a_reader_finds_out_without_changing_or_holding_anything(folder, start):
    line = leave_dirty_of_another_boot(folder, start)
    reader, writer = start(folder), start(folder)
    assert reader.ask("look") == "untrusted"
    assert (folder / "presence").read_text() == line
    assert not anybody_is_in(folder)
    assert reader.ask("settle") == "Unavailable unavailable True"
    assert writer.ask("enter") == "untrusted"
    assert reader.ask("leave") == "left"


def test_only_somebody_who_may_write_marks_and_settles(folder):
    reader = enter(folder, readonly=True)
    with pytest.raises(Unavailable, match="reading only"):
        reader.mark_dirty()
    writer = enter(folder)
    writer.leave(lambda: None)
    with pytest.raises(Refused, match="closed"):
        writer.mark_dirty()
    reader.leave(lambda: None)
    assert state(folder) == "clean"


@pytest.mark.parametrize("verb", ["enter", "look"])
@pytest.mark.parametrize("elsewhere", [{"namespace": OTHER_NAMESPACE}, {"machine": OTHER_BOOT}])
def test_a_store_that_is_open_elsewhere_is_refused(folder, start, verb, elsewhere):
    holder, guest = start(folder), start(folder)
    holder.ask("enter")
    forge(folder, **elsewhere)
    assert guest.ask(verb) == "Refused elsewhere True"
    holder.kill()
    assert guest.ask(verb) == "trusted"
    assert words(folder)[5] == (boot_id() or "-")
    assert words(folder)[6] != OTHER_NAMESPACE


@needs_boot_id
def test_a_reader_says_where_it_is_but_does_not_vouch_for_the_index(folder, start):
    writer = start(folder)
    writer.ask("enter", "mark")
    writer.kill()
    before = forge(folder, namespace=OTHER_NAMESPACE).split()
    reader, other = start(folder), start(folder)
    assert reader.ask("look") == "trusted"
    assert words(folder)[:6] == before[:6]
    assert words(folder)[6] != OTHER_NAMESPACE
    forge(folder, namespace=OTHER_NAMESPACE)
    assert other.ask("enter") == "Refused elsewhere True"


def own_pid_namespace():
    """Words that start a command in a pid namespace of its own, or why that cannot be."""
    if shutil.which("unshare") is None:
        return None, "there is no `unshare`"
    for command in (["unshare", "-pf"], ["unshare", "-Urpf"]):
        done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return command, ""
    return None, done.stderr.strip()


@needs_proc
def test_two_pid_namespaces_do_not_share_a_store(folder, start):
    command, reason = own_pid_namespace()
    if command is None:
        pytest.skip(f"no pid namespace of our own: {reason}")
    outer, inner = start(folder), start(folder, before=command)
    assert outer.ask("enter") == "trusted"
    assert inner.ask("enter") == inner.ask("look") == "Refused elsewhere True"
    outer.ask("mark")
    outer.ask("leave")
    assert inner.ask("enter") == "trusted"
    assert outer.ask("enter") == outer.ask("look") == "Refused elsewhere True"
    inner.ask("mark")
    assert inner.ask("leave") == "synced"
    assert outer.ask("look") == "trusted"


@needs_boot_id
def test_a_copy_of_what_was_dirty_is_untrusted_and_the_original_is_not(folder, tmp_path, start):
    writer = start(folder)
    writer.ask("enter", "mark")
    shutil.copytree(folder, tmp_path / "copy")
    assert not trusted(tmp_path / "copy", readonly=True)
    assert not trusted(tmp_path / "copy")
    writer.kill()
    folder.rename(tmp_path / "moved")
    assert trusted(tmp_path / "moved")


def test_a_copy_of_what_was_clean_is_trusted(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert trusted(tmp_path / "copy", readonly=True)
    assert trusted(tmp_path / "copy")


@needs_boot_id
def test_a_copy_that_got_the_inode_number_of_a_removed_index_is_untrusted(folder, start):
    writer = start(folder)
    writer.ask("enter", "mark")
    writer.kill()
    said = words(folder)[3]
    if said.endswith(":0"):
        pytest.skip("this file system does not tell files with one inode number apart")
    inode = (folder / "data.mdb").stat().st_ino
    (folder / "data.mdb").unlink()
    for number in range(100):
        (folder / "data.mdb").write_bytes(b"restored")
        if (folder / "data.mdb").stat().st_ino == inode:
            break
        (folder / "data.mdb").rename(folder / f"other{number}")
    else:
        pytest.skip("this file system does not use an inode number again soon")
    assert not trusted(folder)


@pytest.fixture
def shared():
    """A directory that other users can reach, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="dagstore-"))
    folder.chmod(0o755)
    yield make_folder(folder / ".dag")
    (folder / ".dag").chmod(0o755)
    shutil.rmtree(folder)


def take_rights(folder):
    """Nobody but root may write there from now on."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def visitor(start, folder):
    """A process without rights of its own."""
    actor = start(folder)
    actor.ask("lose rights")
    return actor


def test_a_clean_store_without_write_permission_is_read_beside_others(shared, start):
    line = forge(shared, namespace=OTHER_NAMESPACE, machine=OTHER_BOOT)
    take_rights(shared)
    reader, again = visitor(start, shared), visitor(start, shared)
    assert reader.ask("look") == again.ask("look") == "trusted"
    assert (shared / "presence").read_text() == line
    # What it cannot say does not hold up others, who would take it for the one that the file names.
    assert not anybody_is_in(shared)
    assert reader.ask("enter") == "Unavailable unavailable True"


@needs_boot_id
def test_a_dirty_store_without_write_permission_is_trusted_in_its_boot_only(shared, start):
    writer = start(shared)
    writer.ask("enter", "mark")
    take_rights(shared)
    reader = visitor(start, shared)
    assert reader.ask("look") == "trusted"
    writer.kill()
    assert anybody_is_in(shared)
    assert reader.ask("leave", "look") == "trusted"
    reader.ask("leave")
    forge(shared, boot=OTHER_BOOT)
    assert reader.ask("look") == "untrusted"
    assert not anybody_is_in(shared)


def test_a_reader_without_the_file_trusts_only_that_there_is_nothing(shared, start):
    (shared / "presence").unlink()
    take_rights(shared)
    assert visitor(start, shared).ask("look") == "untrusted"
    (shared / "data.mdb").unlink()
    assert visitor(start, shared).ask("look") == "trusted"


def test_a_reader_that_may_not_even_read_the_file_trusts_nothing(shared, start):
    (shared / "presence").chmod(0)
    assert visitor(start, shared).ask("look") == "untrusted"


def test_many_that_come_and_go_at_once_end_clean(folder, start):
    actors = [start(folder) for _ in range(8)]
    for actor in actors:
        actor.tell("rounds")
    assert [actor.answer() for actor in actors] == ["None"] * len(actors)
    assert state(folder) == "clean"
    assert not anybody_is_in(folder)


@needs_boot_id
def test_those_that_are_killed_in_between_harm_nobody(folder, start):
    staying = [start(folder) for _ in range(3)]
    for actor in staying:
        actor.tell("rounds")
    for _ in range(10):
        passing = start(folder)
        passing.ask("enter")
        passing.tell("rounds")
        passing.kill()
    assert [actor.answer() for actor in staying] == ["None"] * len(staying)
    assert trusted(folder)


def test_a_child_leaves_without_taking_its_parent_along(folder, start):
    parent = start(folder)
    parent.ask("enter", "mark", "leave in a child")
    assert anybody_is_in(folder)
    assert state(folder) == "dirty"
    assert parent.ask("leave") == "synced"
    assert state(folder) == "clean"


def test_a_child_that_stays_does_not_stay_present(folder, start):
    parent = start(folder)
    parent.ask("enter", "mark", "leave a child behind")
    assert parent.ask("leave") == "synced"
    assert not anybody_is_in(folder)


@pytest.mark.parametrize("error", [OSError(5, "the medium is gone"), Unavailable("it is gone")])
def test_what_could_not_be_made_whole_is_made_again(folder, error):
    here = enter(folder)
    here.mark_dirty()

    def fail():
        raise error

    here.leave(fail)
    assert state(folder) == "stale"
    assert not anybody_is_in(folder)
    assert not trusted(folder)


def test_a_mistake_in_the_program_is_not_swallowed(folder):
    here = enter(folder)
    here.mark_dirty()
    with pytest.raises(ZeroDivisionError):
        here.leave(lambda: 1 / 0)
    assert state(folder) == "dirty"
    assert not anybody_is_in(folder)
    here.leave(lambda: pytest.fail("it left already"))


def test_leaving_a_store_that_was_removed_is_quiet(folder):
    here = enter(folder)
    here.mark_dirty()
    shutil.rmtree(folder)
    here.leave(lambda: None)


@needs_boot_id
def test_an_index_that_is_replaced_under_its_users_is_not_shared(folder, start):
    writer, guest = start(folder), start(folder)
    writer.ask("enter", "mark")
    (folder / "data.mdb").rename(folder / "aside")
    (folder / "data.mdb").write_bytes(b"another")
    assert guest.ask("enter") == "Unavailable unavailable True"
    assert writer.ask("leave") == "left"
    assert guest.ask("enter") == "untrusted"


def test_an_index_may_be_begun_after_it_was_marked(tmp_path, start):
    first, second = start(tmp_path), start(tmp_path)
    first.ask("enter", "mark", "build")
    assert second.ask("enter") == "trusted"
    assert second.ask("leave") == "left"
    assert first.ask("leave") == "synced"
    assert trusted(tmp_path)


def test_without_a_boot_id_nothing_dirty_is_trusted(folder, monkeypatch):
    monkeypatch.setattr(presence, "boot_id", lambda: "")
    here = enter(folder)
    assert here.trusted
    here.mark_dirty()
    beside = enter(folder)
    assert beside.trusted  # by somebody who is here and knows
    beside.leave(lambda: None)
    here.leave(lambda: None)
    assert trusted(folder)
    forge(folder, state="dirty")  # which a killed writer leaves
    assert not trusted(folder)
    builder = enter(folder)
    builder.settle()
    builder.leave(lambda: None)
    assert trusted(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DagError, match="nowhere") as raised:
        enter(tmp_path / "nowhere")
    assert raised.value.hint
