"""Grad-CAM and Grad-CAM++: maps weighed by the gradient of the class score. Pure TensorFlow.

`activations` A and `gradients` g = ∂y/∂A are (b, fh, fw, c) float32, y being the target class's score before
softmax or sigmoid. Both give the rectified heat (b, fh, fw), not scaled.
"""

import tensorflow as tf


def grad_cam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Selvaraju et al. 2017 (arXiv 1610.02391).

    α_k = mean_ij g_ijk;  L = ReLU(Σ_k α_k A_k)
    """
    weights = tf.reduce_mean(gradients, axis=[1, 2], keepdims=True)  # (b, 1, 1, c)
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))


def grad_cam_plus_plus(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Chattopadhyay et al. 2018 (arXiv 1710.11063), for the class score Y = exp(y).

    α_ijk = g² / (2 g² + Σ_ab A_abk g³), zero where g is
    w_k = Σ_ij α_ijk ReLU(exp(y) g_ijk);  L = ReLU(Σ_k w_k A_k)
    The factor exp(y) is one positive number for the whole map: it is left out, for it overflows and scaling
    the map takes it away.
    """
    square = tf.square(gradients)
    total = tf.reduce_sum(activations, axis=[1, 2], keepdims=True)  # (b, 1, 1, c)
    alpha = tf.math.divide_no_nan(square, 2 * square + total * square * gradients)
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=[1, 2], keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))
