"""Archives of frames: one uncompressed tar for each clip, as large data sets keep them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from cfp_onnx.clips.clip import Frame
from cfp_onnx.clips.names import is_picture, natural_order
from cfp_onnx.clips.sources.decode import decode_frames
from cfp_onnx.clips.sources.opened import Frames
from cfp_onnx.clips.sources.pictures import missing_numbers
from cfp_onnx.clips.sources.regular_file import BYTE_LIMIT
from cfp_onnx.errors import ClipError, LimitError

MEMBERS = 2**20
"""Most files one archive may hold."""


def open_tar(file: str, sha256: str) -> Frames:
    """Reads the pictures among an archive's files as frames, in the natural order of their names.

    Nothing is unpacked; links, devices and folders are passed over.

    Raises:
        ClipError: It is damaged, or holds no picture.
        LimitError: It holds too many files, or a picture that is too large.
    """
    members: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(file, "r:") as archive:
            for number, member in enumerate(archive):
                if number >= MEMBERS:
                    raise LimitError(f"{file} holds more than {MEMBERS} files; give the frames of one clip")
                name = PurePosixPath(member.name).name
                if member.isreg() and not name.startswith(".") and is_picture(Path(name)):
                    members.append(member)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ClipError(f"{file} is a damaged archive of frames ({error}); copy it again") from error
    if not members:
        raise ClipError(f"{file} holds no frames; an archive of a clip holds its pictures")
    for member in members:
        if member.size > BYTE_LIMIT:
            raise LimitError(f"{file}: {member.name} is larger than {BYTE_LIMIT} bytes")
    members.sort(key=lambda m: natural_order(PurePosixPath(m.name).name))

    def named(wanted: Sequence[int]) -> Iterator[tuple[str, bytes]]:
        with tarfile.open(file, "r:") as archive:
            for i in wanted:
                stream = archive.extractfile(members[i])
                if stream is None:
                    raise ClipError(f"{members[i].name} of {file} cannot be read; copy the archive again")
                yield f"{members[i].name} of {file}", stream.read()

    def read(wanted: Sequence[int]) -> Iterator[Frame]:
        return decode_frames(named(wanted))

    stems = [PurePosixPath(m.name).stem for m in members]
    return Frames(file, sha256, len(members), read, note=missing_numbers(stems))


__all__ = ["MEMBERS", "open_tar"]
