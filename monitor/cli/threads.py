"""Who may use the processor's cores."""

import os


def leave_the_cores_to_the_network() -> None:
    """Keep NumPy and OpenCV to the thread that asks; to be called before either is imported.

    Their products and pictures are small here: spread over threads, these wait for each other and take cores
    from the network in the middle of a batch. On two busy cores the distances of a batch from the training
    data took 21 ms with OpenBLAS's own choice of threads, and 0.5 ms with one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
