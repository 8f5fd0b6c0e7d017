"""Pure work on images: geometry, regions, annotation, JPEG and files."""
