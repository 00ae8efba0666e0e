"""Archives made here, including hostile ones, which must never cause a write."""

import gzip
import hashlib
import io
import tarfile
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segline.core.errors import IntegrityError
from segline.sources.collecting import archive

FILES = {"a.png": b"first" * 300, "deep/b.png": b"second", "empty.png": b""}
REMEDY = "Get a good copy of it."


def wanted(files=FILES):
    return {name: archive.Wanted(f"out/{name}", hashlib.sha256(content).hexdigest()) for name, content in files.items()}


def member(name, kind=tarfile.REGTYPE, size=0, **fields):
    header = tarfile.TarInfo(name)
    header.type, header.size = kind, size
    for field, value in fields.items():
        setattr(header, field, value)
    return header


def packed(*extra, files=FILES, form=tarfile.PAX_FORMAT):
    """The bytes of a tar of top/<files>, then the given headers, each with as many zeros as it announces."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        tar.addfile(member("top", tarfile.DIRTYPE))
        for name, content in files.items():
            tar.addfile(member(f"top/{name}", size=len(content)), io.BytesIO(content))
        for header in extra:
            tar.addfile(header, io.BytesIO(bytes(header.size)) if header.isreg() else None)
    return buffer.getvalue()


def zipped(content, path):
    path.write_bytes(gzip.compress(content, compresslevel=1, mtime=0))
    return path


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(tmp_path, content, limits=archive.LIMITS, files=FILES):
    """The problem reported for these bytes, after a check that no file was created or changed anywhere."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept.txt").write_text("kept")
    before = snapshot(tmp_path)

    with pytest.raises(IntegrityError) as caught:
        archive.extract(path, wanted(files), target, limits)

    assert snapshot(tmp_path) == before
    assert (caught.value.where, caught.value.remedy) == (str(path), REMEDY)
    return caught.value.problem


def test_the_wanted_files_are_extracted_byte_for_byte(tmp_path):
    path = zipped(packed(files=FILES | {"not wanted.txt": b"x" * 5000}), tmp_path / "x.tar.gz")

    archive.extract(path, wanted(), tmp_path / "new" / "target")

    assert snapshot(tmp_path / "new") == {f"target/out/{name}": content for name, content in FILES.items()}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_each_tar_dialect_is_read(tmp_path, form):
    """A path over 100 bytes is in an extended header, a different one in each dialect."""
    files = {"d" * 90 + "/" + "f" * 90: b"content"}
    path = zipped(packed(files=files, form=form), tmp_path / "x.tar.gz")

    archive.extract(path, wanted(files), tmp_path)

    assert snapshot(tmp_path / "out") == files


HOSTILE = {
    "parent": (member("../x", size=4), "member '../x' leads out of its folder"),
    "parent inside": (member("top/../../x", size=4), "member 'top/../../x' leads out of its folder"),
    "absolute": (member("/etc/x", size=4), "member '/etc/x' leads out of its folder"),
    "dot": (member("top/./a.png", size=4), "member 'top/./a.png' leads out of its folder"),
    "pax path": (member("top/x", pax_headers={"path": "../x"}), "member '../x' leads out of its folder"),
    "drive": (member("C:/x", size=4), "member 'C:/x' has an unsafe path"),
    "backslash": (member("top\\x", size=4), "member 'top\\\\x' has an unsafe path"),
    "newline": (member("top/a\n.png", size=4), "member 'top/a\\n.png' has an unsafe path"),
    "terminal code": (member("top/\x1b[2J", size=4), "member 'top/\\x1b[2J' has an unsafe path"),
    "symlink": (
        member("top/l", tarfile.SYMTYPE, linkname="/etc/passwd"),
        "member 'top/l' is not a plain file or folder",
    ),
    "hardlink": (
        member("top/l", tarfile.LNKTYPE, linkname="top/a.png"),
        "member 'top/l' is not a plain file or folder",
    ),
    "character device": (member("top/d", tarfile.CHRTYPE), "member 'top/d' is not a plain file or folder"),
    "block device": (member("top/d", tarfile.BLKTYPE), "member 'top/d' is not a plain file or folder"),
    "fifo": (member("top/f", tarfile.FIFOTYPE), "member 'top/f' is not a plain file or folder"),
    "sparse": (member("top/s", tarfile.GNUTYPE_SPARSE), "member 'top/s' is not a plain file or folder"),
    "unknown type": (member("top/u", b"Z"), "member 'top/u' is not a plain file or folder"),
    "duplicate": (member("top/a.png"), "member 'top/a.png' is a duplicate (ignoring case and Unicode form)"),
    "case": (member("top/A.PNG"), "member 'top/A.PNG' is a duplicate (ignoring case and Unicode form)"),
    "second top": (member("other/x"), "member 'other/x' is outside of folder 'top'"),
    "no top": (member("x"), "member 'x' is outside of folder 'top'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_one_unsafe_member_refuses_the_whole_archive(tmp_path, name):
    """It comes last, after all wanted members: the check precedes the first write."""
    header, expected = HOSTILE[name]

    assert refusal(tmp_path, gzip.compress(packed(header))) == expected


def test_names_that_differ_in_composition_only_are_one_name(tmp_path):
    """macOS keeps one file for both."""
    composed, apart = (member("top/" + unicodedata.normalize(form, "\u00e9")) for form in ("NFC", "NFD"))

    assert "is a duplicate" in refusal(tmp_path, gzip.compress(packed(composed, apart)))


def test_a_symlink_that_a_later_member_writes_through_is_refused(tmp_path):
    link = member("top/out", tarfile.SYMTYPE, linkname="/etc")

    assert "is not a plain file" in refusal(tmp_path, gzip.compress(packed(link, member("top/out/x", size=4))))


def test_a_bomb_in_one_member_is_refused_by_its_header(tmp_path):
    content = gzip.compress(packed(member("top/zeros", size=4 << 20)))

    assert len(content) < 10_000
    assert refusal(tmp_path, content, archive.Limits(file=1 << 20)) == (
        "member 'top/zeros' has 4,194,304 bytes, expected 0 to 1,048,576"
    )


def test_a_bomb_of_many_members_is_refused_while_it_unpacks(tmp_path):
    content = gzip.compress(packed(*(member(f"top/{number}", size=1 << 20) for number in range(4))))

    assert refusal(tmp_path, content, archive.Limits(total=2 << 20)) == "unpacks to more than 2,097,152 bytes"


def test_a_bomb_behind_the_last_member_is_refused(tmp_path):
    content = gzip.compress(packed() + bytes(4 << 20))

    assert refusal(tmp_path, content, archive.Limits(total=2 << 20)) == "unpacks to more than 2,097,152 bytes"


def test_too_many_members_are_refused(tmp_path):
    content = gzip.compress(packed(member("top/x")))

    assert refusal(tmp_path, content, archive.Limits(members=4)) == "member 'top/x' exceeds the 4 members allowed"


def test_a_huge_extended_header_is_not_read(tmp_path):
    """tarfile would read all of it into memory."""
    content = gzip.compress(packed(member("top/x", pax_headers={"comment": "z" * 20_000})))

    assert refusal(tmp_path, content).startswith("not a whole .tar.gz archive (a header of 20,")


def test_a_size_below_zero_is_refused(tmp_path):
    """tarfile before Python 3.11.14 reads such an archive forever (CVE-2025-8194)."""
    header = member("top/x", size=-1024).tobuf(tarfile.GNU_FORMAT)

    assert refusal(tmp_path, gzip.compress(header + packed()))


def test_an_extended_header_of_negative_size_is_refused(tmp_path):
    header = member("x", tarfile.XHDTYPE, size=-1024).tobuf(tarfile.GNU_FORMAT)

    assert "a header of -1,024 bytes" in refusal(tmp_path, gzip.compress(header + packed()))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", "empty", id="no byte"),
        pytest.param(b"<html>", "Not a gzipped file (b'<h')", id="a page"),
        pytest.param(gzip.compress(b"no tar" * 200), "", id="no tar"),
        pytest.param(gzip.compress(packed())[:-20], "", id="a cut gzip"),
        pytest.param(gzip.compress(packed(), compresslevel=0)[:1500], "", id="a gzip cut within a member"),
        pytest.param(gzip.compress(packed()[:1300]), "ends at 1,300", id="a cut tar"),
        pytest.param(gzip.compress(packed()) + b"trailing", "Not a gzipped file (b'tr')", id="bytes after the end"),
    ],
)
def test_what_is_not_a_whole_archive_is_refused(tmp_path, content, expected):
    problem = refusal(tmp_path, content)

    assert problem.startswith("not a whole .tar.gz archive (")
    assert expected in problem


def test_the_checksum_of_gzip_counts(tmp_path):
    content = bytearray(gzip.compress(packed()))
    content[-8] ^= 1

    assert refusal(tmp_path, bytes(content)).startswith("not a whole .tar.gz archive (CRC check failed")


def test_missing_files_are_counted_and_the_first_ones_named(tmp_path):
    absent = {f"{letter}.png": b"" for letter in "vwxyz"}

    assert refusal(tmp_path, gzip.compress(packed()), files=FILES | absent) == (
        "lacks 5 of 8 wanted files: v.png; w.png; x.png; ..."
    )


def test_a_folder_in_the_place_of_a_wanted_file_is_missing(tmp_path):
    content = gzip.compress(packed(member("top/x.png", tarfile.DIRTYPE)))

    assert refusal(tmp_path, content, files={"x.png": b""}) == "lacks 1 of 1 wanted files: x.png"


def test_wrong_bytes_are_told_with_both_checksums(tmp_path):
    changed = FILES | {"deep/b.png": b"Second"}
    expected, got = (hashlib.sha256(content).hexdigest() for content in (b"second", b"Second"))

    assert refusal(tmp_path, gzip.compress(packed(files=changed))) == (
        f"sha256 differs in 1 of 3 files: deep/b.png (expected {expected}, got {got})"
    )


def seal(content, start):
    """Sets the checksum of the header at `start`, so that tarfile accepts it."""
    content[start + 148 : start + 156] = b" " * 8
    total = sum(content[start : start + tarfile.BLOCKSIZE])
    content[start + 148 : start + 156] = b"%06o\0 " % total


@settings(max_examples=300)
@given(st.data())
def test_an_archive_with_changed_bytes_is_refused_or_gives_the_wanted_bytes(tmp_path_factory, data):
    """Whatever tarfile reads in a damaged header, there is no other error and no other byte."""
    content = bytearray(packed(member("top/x", pax_headers={"comment": "y"}), form=tarfile.PAX_FORMAT))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            seal(content, place - place % tarfile.BLOCKSIZE)
    folder = tmp_path_factory.mktemp("fuzz")
    path = zipped(bytes(content), folder / "x.tar.gz")

    try:
        archive.extract(path, wanted(), folder / "target")
    except IntegrityError:
        assert not (folder / "target").exists()
    else:
        assert snapshot(folder / "target" / "out") == FILES
