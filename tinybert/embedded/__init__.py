"""The embedded text and tasks: what the demo profile needs, without a hub and without a network."""

from tinybert.embedded.docstrings import LIBRARIES, Document, documents
from tinybert.embedded.tasks import LABELS, TOPIC_LIBRARIES, make_task

__all__ = ["LABELS", "LIBRARIES", "TOPIC_LIBRARIES", "Document", "documents", "make_task"]
