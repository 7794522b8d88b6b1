"""Images and documents as OpenAI's formats want them: addresses, or data that says its own type."""

import base64

from aigend.errors import capability_missing
from aigend.providers.request_parts import IMAGE_TYPES, image_media_type
from aigend.types import Document, Image

_PDF = "application/pdf"
_ENDINGS = {
    _PDF: ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/html": ".html",
    "application/json": ".json",
    "application/xml": ".xml",
    "application/rtf": ".rtf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}


def check_image(image: Image, where: str) -> None:
    """Return if an image's type is known to be one that can be sent.

    Raises:
        DomainError: CAPABILITY_MISSING, naming the field.
    """
    if image.data and not image_media_type(image):
        allowed = ", ".join(IMAGE_TYPES.values())
        raise capability_missing(f"{where}.image.media_type", image.media_type or "unknown", f"allowed: {allowed}")


def check_document(document: Document, where: str) -> None:
    """Return if a document's type is known to be one that can be sent.

    Raises:
        DomainError: CAPABILITY_MISSING, naming the field.
    """
    if document.data and document_media_type(document) not in _ENDINGS:
        allowed = ", ".join(_ENDINGS)
        raise capability_missing(f"{where}.document.media_type", document.media_type or "unknown", f"allowed: {allowed}")


def document_media_type(document: Document) -> str:
    """Return the media type as stated, or else that of a PDF by its first bytes; empty where it is not known."""
    if document.media_type:
        return document.media_type.partition(";")[0].strip().lower()
    return _PDF if document.data.startswith(b"%PDF") else ""


def image_address(image: Image) -> str:
    """Return the address of an image, which for data is the data itself."""
    return image.url or _data_address(image_media_type(image), image.data)


def document_file(document: Document) -> dict[str, str]:
    """Return a document's data with the name that says its type."""
    media_type = document_media_type(document)
    ending = _ENDINGS[media_type]
    name = document.title or "document"
    return {
        "filename": name if name.lower().endswith(ending) else name + ending,
        "file_data": _data_address(media_type, document.data),
    }


def _data_address(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
