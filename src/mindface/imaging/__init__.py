"""Reading images: path, bytes, file object, PIL image or array -> upright RGB uint8.

JPEG, PNG, WebP, BMP, TIFF, AVIF, and of GIF and APNG the first frame, are read by Pillow; HEIC by
pillow_heif (extra `heic`). The content says what a file is, never its suffix.

The EXIF orientation is always applied. Colour profiles are ignored: pixels are taken as sRGB.
Transparent pixels show white behind them. 16-bit channels are scaled to 8 bits, never clipped;
float and 32-bit pixels have no agreed range and are refused.

No metadata reaches a decoder, so none can be a decompression bomb: see `containers`.
"""

from mindface.imaging.folders import find_images
from mindface.imaging.photo import Photo, Source, open_image, or_error, read

__all__ = ["Photo", "Source", "find_images", "open_image", "or_error", "read"]
