"""Where the pretrained teacher comes from: the hub, a local folder, or a Python package."""

from pathlib import Path
from typing import Literal

from tinybert.encoders.checkpoints import from_hub, packaged, require_checkpoint, require_sha256
from tinybert.settings.reader import Settings


class TeacherSource(Settings):
    """The profile's section `teacher`."""

    source: Literal["packaged", "hub", "folder"]  # folder: sources.teacher of params.yaml
    hub_id: str | None  # for source hub, for instance bert-base-uncased
    revision: str | None  # for source hub: branch, tag or commit; null for the newest
    sha256: str | None  # of model.safetensors; any other file is refused; null: not checked


def locate_teacher(settings: TeacherSource, folder: Path) -> Path:
    """Return the checkpoint's folder, downloaded if need be, its hash checked.

    Args:
        settings: The profile's section.
        folder: `sources.teacher`.

    Raises:
        InputError: There is no such checkpoint, or it is not the expected one.
    """
    if settings.source == "packaged":
        found = packaged()
    elif settings.source == "hub":
        found = from_hub(settings.hub_id or "", settings.revision)
    else:
        found = require_checkpoint(folder)
    if settings.sha256 is not None:
        require_sha256(found / "model.safetensors", settings.sha256)
    return found
