"""From heat to boxes in the pixels of the camera's own frame."""
