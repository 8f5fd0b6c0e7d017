"""From cameras to numbered frames: sources of pictures, and the thread that reads one and never gives up."""
